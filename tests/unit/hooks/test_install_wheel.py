"""The seam, on the pip that runs these tests; the others are in tests/compat."""

from __future__ import annotations

import sys
from importlib.metadata import version
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.hooks import install_wheel as install_wheel_module
from pip_linkmode.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Settings("copy", "copy", (), ())


@pytest.fixture
def wheel() -> Iterator[Any]:
    """Pip's module, as it was afterwards."""
    module: Any = vars(install_wheel_module)["pip_wheel"]
    stock = module.install_wheel
    yield module
    module.install_wheel = stock


def install_wheel(
    name: str,
    wheel_path: str,
    scheme: Any,
    req_description: str,
    pycompile: bool = True,
    **more: object,
) -> None:
    del name, scheme, req_description, pycompile
    more["seen"].append(wheel_path)  # type: ignore[attr-defined]  # a list


def test_install_wheel_is_wrapped_once_and_where_it_is_bound(
    wheel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = ModuleType("pip._internal.req.req_install")
    vars(caller)["install_wheel"] = wheel.install_wheel = install_wheel
    monkeypatch.setitem(sys.modules, caller.__name__, caller)
    install_wheel_module.apply()
    wrapped = wheel.install_wheel
    assert wrapped is not install_wheel
    assert vars(caller)["install_wheel"] is wrapped
    install_wheel_module.apply()
    assert wheel.install_wheel is wrapped


def test_outside_of_a_session_pip_is_left_alone(wheel: Any) -> None:
    wheel.install_wheel = install_wheel
    install_wheel_module.apply()
    seen: list[str] = []
    wheel.install_wheel("x", "x.whl", object(), "x", seen=seen)
    assert seen == ["x.whl"]


def test_a_session_hears_of_each_wheel_and_keywords_are_passed_on(wheel: Any) -> None:
    wheel.install_wheel = install_wheel
    install_wheel_module.apply()
    keys = ("platlib", "purelib", "headers", "scripts", "data")
    scheme = SimpleNamespace(**{key: f"/{key}" for key in keys})
    seen: list[str] = []
    # Without a store the session hands the wheel on.
    with install_wheel_module.session(SETTINGS, (), pycompile=True):
        wheel.install_wheel("x", "x.whl", scheme, req_description="x", seen=seen)
    assert seen == ["x.whl"]


def test_what_pip_is_going_to_install_is_known_ahead_but_for_throw_away_wheels() -> (
    None
):
    def requirement(path: str | None, origin: dict[str, Any] | None = None) -> Any:
        info = origin and SimpleNamespace(to_dict=lambda: origin)
        return SimpleNamespace(
            local_file_path=path, download_info=info, is_direct=bool(origin)
        )

    requirements = [
        requirement("/a.whl"),
        requirement("/b.tar.gz"),
        requirement(None),
        object(),
        requirement("/c.whl", {"dir_info": {}}),
        requirement("/d.whl", {"archive_info": {}}),
    ]
    session = install_wheel_module.session(SETTINGS, requirements, pycompile=False)
    assert list(session.ahead) == ["/a.whl", "/d.whl"]
    assert not session.pycompile


def other_shape(wheel: str, name: str) -> None:
    del wheel, name


@pytest.mark.parametrize("shape", [None, other_shape])
def test_an_unknown_shape_is_named(wheel: Any, shape: Any) -> None:
    wheel.install_wheel = shape
    with pytest.raises(install_wheel_module.SeamError, match=version("pip")):
        install_wheel_module.apply()
