"""Files that a server serves: status and bytes are those of stock pip's environment.

aiohttp, Starlette and tornado refuse a file whose real path is outside of the served
directory (jupyterlab/jupyterlab#19767, Comfy-Org/ComfyUI#2902, Kludex/starlette#2788).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.programs.oracle import (
    STOCK,
    Lab,
    Program,
    assert_used,
    printed_port,
    serving,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.index

# As in server.py and app/frontend_management.py of ComfyUI.
COMFYUI = """\
import asyncio, importlib.resources, os
import comfyui_frontend_package
from aiohttp import web

root = str(importlib.resources.files(comfyui_frontend_package) / "static")

async def index(request):
    return web.FileResponse(os.path.join(root, "index.html"))

async def main():
    app = web.Application()
    app.add_routes([web.get("/", index), web.static("/", root)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("port", site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
STARLETTE = """\
import asyncio, socket
import uvicorn
from sqladmin import Admin
from sqlalchemy import create_engine
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles

app = Starlette()
Admin(app, create_engine("sqlite://"))
bokeh = StaticFiles(directory=None, packages=[("bokeh", "server/static")])
app.mount("/bokeh", bokeh)
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print("port", listener.getsockname()[1], flush=True)
server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
asyncio.run(server.serve([listener]))
"""


def comfyui(program: Program) -> dict[str, Any]:
    program.install("aiohttp")
    program.install("--no-deps", "comfyui-frontend-package")
    return ask_comfyui(program)


def ask_comfyui(program: Program) -> dict[str, Any]:
    """Start the server with the installed front end, and fetch a part of that."""
    static = program.site_packages / "comfyui_frontend_package" / "static"
    paths = ["/", *(f"/{path}" for path in spread(static, 200))]
    with serving(program, "-c", COMFYUI, port=printed_port) as server:
        return server.fetch(paths)


def starlette(program: Program) -> dict[str, Any]:
    program.install("sqladmin", "sqlalchemy[asyncio]", "uvicorn")
    program.install("--no-deps", "bokeh")
    admin = program.site_packages / "sqladmin" / "statics"
    bokeh = program.site_packages / "bokeh" / "server" / "static"
    paths = [
        *(f"/admin/statics/{path}" for path in spread(admin, 40)),
        *(f"/bokeh/{path}" for path in spread(bokeh, 40)),
    ]
    with serving(program, "-c", STARLETTE, port=printed_port) as server:
        return server.fetch(paths)


@pytest.mark.parametrize("program", [comfyui, starlette])
def test_server_answers_as_from_the_environment_of_stock_pip(
    lab: Lab, mode: str, program: Callable[[Program], dict[str, Any]]
) -> None:
    expected = lab.stock(program.__name__, program)
    assert {status for status, _ in expected.values()} == {200}
    assert len(expected) >= 40
    linked = lab.program(mode)
    answers = program(linked)
    assert_used(linked)
    different = {path: a for path, a in answers.items() if a != expected[path]}
    assert not different
    assert answers == expected


def test_server_answers_after_relink(lab: Lab) -> None:
    expected = lab.stock("comfyui", comfyui)
    program = lab.program(STOCK, own_store=True)
    assert comfyui(program) == expected
    relink = ("-m", "pip_linkmode", "relink", "--mode", "symlink")
    store = ("--link-store", program.store)
    lab.program("symlink").run(*relink, *store, program.path)
    assert program.primitive() == "symlink"
    assert ask_comfyui(program) == expected
