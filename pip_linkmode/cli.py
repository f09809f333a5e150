"""The command: ``pip-linkmode``, or ``python -m pip_linkmode``.

Each command is a row of :data:`COMMANDS`: what it takes, and a function that makes a
:class:`Result` of it, which is printed as text or, with ``--json``, as data.

Exit codes: 0 all is well; 1 something was found, or could not be done; 2 the command
cannot be meant.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pip_linkmode
from pip_linkmode.configuration import in_force
from pip_linkmode.console import (
    Progress,
    bar,
    parse_size,
    parse_span,
    plural,
    shades,
    size,
    table,
)
from pip_linkmode.enable import disable, enable
from pip_linkmode.environments import find
from pip_linkmode.errors import (
    EnvironmentUnknownError,
    FillRefusedError,
    LinkmodeError,
    SettingsError,
    StoreRefusedError,
)
from pip_linkmode.fill import fill, gather, interpreter, wheels_in
from pip_linkmode.inventory import describe, items
from pip_linkmode.ledger import measure
from pip_linkmode.materialize import Materializing
from pip_linkmode.prune import Wanted, prune, release
from pip_linkmode.relink import Relinking
from pip_linkmode.settings import ALIASES, SHARING, why_no_symlinks
from pip_linkmode.status import status
from pip_linkmode.store import Store
from pip_linkmode.usage import usage
from pip_linkmode.users import users
from pip_linkmode.verify import Verification

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pip_linkmode.fill import Report as Filled
    from pip_linkmode.prune import Pruned
    from pip_linkmode.relink import Report
    from pip_linkmode.status import Status
    from pip_linkmode.usage import Usage
    from pip_linkmode.users import User
    from pip_linkmode.verify import Damage

FINE, FOUND, MEANINGLESS = 0, 1, 2
"""The exit codes."""


class Result(NamedTuple):
    """What a command has to say."""

    data: Any
    """What ``--json`` prints."""
    text: str
    """What is printed without it; may be empty."""
    code: int = FINE


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    summary: str
    """One line; may go on after an empty one."""
    example: str
    """A command line, and what it does."""
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Result]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: its arguments; those of the process if ``None``
    :returns: the exit code
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path may have what the terminal does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(argv)
    try:
        result: Result = options.run(options)
    except (EnvironmentUnknownError, SettingsError) as error:
        return _fail(error, MEANINGLESS)
    except (LinkmodeError, OSError) as error:
        return _fail(error, FOUND)
    except KeyboardInterrupt:
        return _fail("interrupted", FOUND)
    try:
        if options.json:
            print(json.dumps(result.data, indent=2))
        elif result.text:
            print(result.text)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return result.code


def _fail(reason: object, code: int) -> int:
    if isinstance(reason, OSError) and reason.strerror:
        reason = ": ".join(filter(None, (reason.filename, reason.strerror)))
    sys.stderr.write(f"ERROR: {reason}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pip-linkmode",
        description="Look after what pip links: the store, and who uses it.",
        epilog=(
            "exit codes: 0 all is well; 1 something was found, or could not be done; "
            "2 the command cannot be meant"
        ),
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"pip-linkmode {pip_linkmode.__version__}",
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.summary.partition("\n")[0],
            description=command.summary,
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.arguments(sub)
        sub.add_argument("--json", action="store_true", help="print data, not text")
        sub.add_argument(
            "--link-store",
            metavar="dir",
            help=(
                "the store, or several separated by "
                f"{os.pathsep!r} (default: as pip is set up here)"
            ),
        )
        sub.set_defaults(run=command.run)
    return parser


def _json(value: Any) -> Any:
    """Return a dataclass as data."""
    return dataclasses.asdict(value)


def _stores(options: argparse.Namespace) -> list[Store]:
    """Open the stores that are in force and exist.

    :raises SettingsError: if they cannot be meant
    :raises StoreRefusedError: if one was named and cannot be used
    """
    settings = in_force(sys.prefix, options.link_store).settings
    found = []
    for path in settings.stores:
        if os.path.lexists(path):
            found.append(Store.open(path, trust_group=settings.trust_group))
        elif options.link_store:
            msg = f"the store {path} does not exist"
            raise StoreRefusedError(msg)
    return found


def _when(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(timestamp)) if timestamp else "?"


# --- status ---------------------------------------------------------------------------


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--environment",
        metavar="env",
        help="look from this environment (default: the one that runs this)",
    )


def _status(options: argparse.Namespace) -> Result:
    found = status(options.environment, options.link_store)
    data = _json(found)
    data["hook"]["problem"] = found.hook.problem
    code = FOUND if found.hook.problem or found.in_force.settings.reason else FINE
    return Result(data, "\n".join(_status_lines(found)), code)


def _status_lines(found: Status) -> list[str]:
    hook, settings = found.hook, found.in_force.settings
    sources = found.in_force.sources
    pip = f"pip {hook.pip}" if hook.pip else "no pip"
    state = f"not linking: {hook.problem}" if hook.problem else "links what it installs"
    lines = [
        f"Environment  {found.environment} ({found.file_system})",
        f"pip          {pip}, {state}",
        f"Mode         {settings.requested} (set by {sources['mode']})",
    ]
    if settings.exclude:
        names = ", ".join(settings.exclude)
        lines.append(f"Excluded     {names} (set by {sources['exclude']})")
    if settings.reason:
        lines.append(f"             {settings.reason}")
    if not settings.stores:
        lines.append(f"Store        none (set by {sources['store']})")
    for store in found.stores:
        lines.append(f"Store        {store.path} (set by {sources['store']})")
        if store.problem:
            lines.append(f"             {store.problem}")
            continue
        about = "about " if store.is_estimate else ""
        access = "" if store.writable else ", read-only"
        lines.append(
            f"             {plural(store.entries, 'entry', 'entries')}, "
            f"{about}{size(store.bytes)} on {store.file_system}{access}"
        )
        lines += [
            f"             {mode:<9}{'works' if reason is None else reason}"
            for mode, reason in store.modes.items()
        ]
    return lines


# --- list -----------------------------------------------------------------------------

_ORDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "name": lambda row: (row["name"].lower(), row["version"]),
    "size": lambda row: -row["size"],
    "users": lambda row: -len(row["users"]),
    "used": lambda row: row["last_used"],
}


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sort", choices=_ORDERS, default="name", help="order (default: %(default)s)"
    )


def _list(options: argparse.Namespace) -> Result:
    rows: list[dict[str, Any]] = []
    for store in _stores(options):
        present = items(store)
        with Progress(f"Reading {store.root}", len(present)) as progress:
            known = users(store)
            sharing: dict[int, Any] = {}
            for item in present:
                about = describe(store, item)
                rows.append(
                    {
                        "name": about.name,
                        "version": about.version,
                        "tags": about.tags,
                        "size": measure([item.path], sharing).allocated,
                        "bytecode": list(about.interpreters),
                        "users": [u.path for u in known if item.sha256 in u.uses],
                        "last_used": item.last_used,
                        "sha256": item.sha256,
                        "store": store.root,
                    }
                )
                progress.advance()
    rows.sort(key=_ORDERS[options.sort])
    lines = [("Package", "Version", "Tags", "Size", "Bytecode", "Users", "Last used")]
    lines += [
        (
            row["name"],
            row["version"],
            row["tags"],
            size(row["size"]),
            " ".join(one.partition("-")[0] + _variant(one) for one in row["bytecode"]),
            str(len(row["users"])),
            _when(row["last_used"]),
        )
        for row in rows
    ]
    return Result(rows, table(lines, (3, 5)) if rows else "The store is empty.")


def _variant(interpreter: str) -> str:
    """Return the rest of an interpreter's name, but for the magic number."""
    tag, _, rest = interpreter.partition(".")
    return "-" + tag.split("-")[1] + (f".{rest}" if rest else "")


# --- usage ----------------------------------------------------------------------------


def _usage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "environments",
        nargs="*",
        metavar="env",
        help="an environment (default: all that use the store)",
    )


def _usage(options: argparse.Namespace) -> Result:
    stores = _stores(options)
    with Progress("Measuring") as progress:
        found = usage(stores, options.environments, progress.advance)
    data = {
        "environments": [_account(one) for one in found.environments],
        "stores": [_account(one) for one in found.stores],
        "without_links": found.without,
        "spent": found.spent,
        "saved": found.saved,
        "unseen": found.unseen,
    }
    return Result(data, "\n".join(_usage_lines(found)))


def _account(account: Any) -> dict[str, Any]:
    return {
        "path": account.path,
        "size": account.logical,
        "shared": account.shared,
        "private": account.private,
        "deleting_frees": account.frees,
        "files": account.files,
    }


def _usage_lines(found: Usage) -> list[str]:
    everything = [*found.environments, *found.stores]
    if not everything:
        return ["No environment uses a store here."]
    dark, light = shades()
    largest = max(one.logical for one in everything)
    rows = [("", "Size", "Shared", "Private", "Deleting frees", "")]
    rows += [
        (
            one.path,
            size(one.logical),
            size(one.shared),
            size(one.private),
            size(one.frees),
            bar([(one.private, dark), (one.shared, light)], largest),
        )
        for one in everything
    ]
    whole = max(found.without, found.spent)
    lines = [
        table(rows, (1, 2, 3, 4)),
        "",
        f"{dark} private   {light} shared",
        "",
        *(
            f"{name:<15}{size(amount):>10}  {bar([(amount, dark)], whole)}"
            for name, amount in (
                ("Without links", found.without),
                ("Spent", found.spent),
            )
        ),
        f"{'Saved':<15}{size(found.saved):>10}",
    ]
    lines += [f"Not seen: {path}" for path in found.unseen]
    return lines


# --- verify ---------------------------------------------------------------------------


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "environments",
        nargs="*",
        metavar="env",
        help="an environment (default: all that use the store, and the store itself)",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help=(
            "put the pristine files back: what is shared or dangles, and with env "
            "also what only that environment has"
        ),
    )
    parser.add_argument(
        "--keep",
        metavar="env",
        action="append",
        default=[],
        help="with --repair: this environment keeps its edits, as files of its own",
    )


def _verify(options: argparse.Namespace) -> Result:
    with Progress("Reading") as progress:
        found = Verification(_stores(options), options.environments, progress.advance)
        if options.repair:
            found.repair(options.keep)
    damages = found.damages
    data = {"damages": [_damage(one) for one in damages], "unread": found.unread}
    lines = [line for one in damages for line in _damage_lines(one)]
    lines += [f"Not readable: {path}" for path in found.unread]
    left = [one for one in damages if not one.is_repaired]
    if damages:
        count = plural(len(damages), "file is", "files are")
        lines.append(f"{count} not as installed; {len(damages) - len(left)} repaired")
    elif not lines:
        lines.append("All files are as they were installed.")
    return Result(data, "\n".join(lines), FOUND if left or found.unread else FINE)


def _damage(damage: Damage) -> dict[str, Any]:
    return {
        "kind": damage.kind,
        "package": damage.package,
        "path": damage.path,
        "sha256": damage.sha256,
        "stored": [one.path for one in damage.stored],
        "installed": [one.path for one in damage.installed],
        "environments": sorted({one.environment for one in damage.installed}),
        "outcome": damage.outcome,
        "repaired": damage.is_repaired,
    }


def _damage_lines(damage: Damage) -> list[str]:
    lines = [f"{damage.package}: {damage.path} {_KINDS[damage.kind]}"]
    lines += [f"    in {one.environment}" for one in damage.installed]
    lines += [f"    in the store: {one.path}" for one in damage.stored]
    if damage.outcome:
        lines.append(f"    {damage.outcome}")
    return lines


_KINDS = {
    "modified": "was modified",
    "missing": "is missing",
    "dangling": "leads nowhere",
    "restamped": "has another time or mode",
    "manifest": "cannot be read",
}


# --- prune ----------------------------------------------------------------------------


def _prune_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than",
        type=_argument(parse_span),
        metavar="span",
        help="only what was not used for so long: 12h, 30d, 2w, 6m, 1y",
    )
    parser.add_argument(
        "--max-size",
        type=_argument(parse_size),
        metavar="size",
        help=(
            "what was used longest ago, until the store fits: 500M, 20G; also what "
            "environments have by hard links or clones, which do not need it"
        ),
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="everything; refused if environments have symlinks into the store",
    )
    parser.add_argument(
        "--force", action="store_true", help="with --all: even then; it breaks them"
    )
    parser.add_argument(
        "--release",
        metavar="env",
        action="append",
        default=[],
        help="first forget an environment that is not there and will not come back",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only tell what would be done"
    )


def _argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse say what is wrong with a value."""

    def parse_or_explain(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_or_explain


def _prune(options: argparse.Namespace) -> Result:
    wanted = Wanted(
        options.older_than,
        options.max_size,
        everything=options.all,
        force=options.force,
        dry_run=options.dry_run,
    )
    if options.all and (options.older_than, options.max_size) != (None, None):
        msg = "--all is everything; leave out --older-than and --max-size, or --all"
        raise SettingsError(msg)
    stores = _stores(options)
    forgotten = []
    for environment in options.release:
        found = [
            path
            for store in stores
            for path in release(
                store, os.path.abspath(environment), dry_run=options.dry_run
            )
        ]
        if not found:
            msg = f"{environment} is not known to use a store"
            raise EnvironmentUnknownError(msg)
        forgotten += found
    results = []
    for store in stores:
        # One that others look after can only be read.
        if store.writable or options.link_store:
            with Progress(f"Looking after {store.root}") as progress:
                results.append(prune(store, wanted, progress.advance))
    code = FOUND if any(result.holders for result in results) else FINE
    text = [f"Forgotten: {path}" for path in forgotten]
    for result in results:
        text += _prune_lines(result, wanted)
    return Result([_pruned(result) for result in results], "\n".join(text), code)


def _pruned(result: Pruned) -> dict[str, Any]:
    return {
        "store": result.store,
        "removed": [
            {
                "name": one.name,
                "version": one.version,
                "sha256": one.sha256,
                "size": one.allocated,
                "freed": one.freed,
                "last_used": one.last_used,
            }
            for one in result.removed
        ],
        "freed": result.freed,
        "restored": result.restored,
        "spare_bytecode": result.spare,
        "released": result.released,
        "unseen": [_user(user) for user in result.unseen],
        "holders": [_user(user) for user in result.holders],
        "size": result.size,
    }


def _user(user: User) -> dict[str, Any]:
    return {
        "path": user.path,
        "state": user.state,
        "uses": sorted(user.uses),
        "depends_on": sorted(user.depends),
    }


def _prune_lines(result: Pruned, wanted: Wanted) -> list[str]:
    lines = []
    if result.removed:
        rows = [("Package", "Version", "Size", "Came back", "Last used")]
        rows += [
            (
                one.name,
                one.version,
                size(one.allocated),
                size(one.freed),
                _when(one.last_used),
            )
            for one in result.removed
        ]
        lines += [table(rows, (2, 3)), ""]
    verb = "Would remove" if wanted.dry_run else "Removed"
    lines.append(
        f"{verb} {plural(len(result.removed), 'entry', 'entries')} of {result.store}; "
        f"{size(result.freed)} {'would come' if wanted.dry_run else 'came'} back"
    )
    if result.spare:
        count = plural(result.spare, "wheel")
        lines.append(f"{verb} bytecode for {count} of read-only stores")
    if result.restored:
        count = plural(result.restored, "entry", "entries")
        lines.append(f"Kept {count} that came into use meanwhile")
    lines += [f"Gone, and forgotten: {path}" for path in result.released]
    for user in result.unseen:
        count = plural(len(user.uses), "entry", "entries")
        lines.append(
            f"Kept {count} for {user.path}, which is {_STATES[user.state]}; "
            f"--release {user.path} forgets it"
        )
    if result.holders:
        names = ", ".join(user.path for user in result.holders)
        lines.append(
            f"The store still takes {size(result.size or 0)}: {names} cannot do "
            "without it, because of symlinks; materialize lets go of it"
        )
    return lines


_STATES = {
    "unreadable": "not readable",
    "moved": "somewhere else now",
    "missing": "not there; a disk may not be mounted",
}


# --- relink ---------------------------------------------------------------------------


def _relink_arguments(parser: argparse.ArgumentParser) -> None:
    _environment_arguments(parser)
    parser.add_argument(
        "--mode",
        choices=("auto", "clone", "reflink", "hardlink", "symlink"),
        help="how to share (default: as pip is set up here)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only tell what would come of it, by the sizes of the files",
    )


def _environment_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "environments",
        nargs="+",
        metavar="env",
        help="an environment, its interpreter, or a site-packages directory",
    )


def _libraries(options: argparse.Namespace) -> list[str]:
    return [library for path in options.environments for library in find(path)]


def _relink(options: argparse.Namespace) -> Result:
    found = in_force(sys.prefix, options.link_store)
    force = found.settings
    if not force.stores:
        off = f"there is no store: the link mode is off ({found.sources['mode']})"
        raise SettingsError(force.reason or off)
    mode = ALIASES.get(options.mode, options.mode)
    if mode is None:
        mode = force.mode if force.mode in SHARING else "auto"
    dangling = why_no_symlinks(force.stores) if mode == "symlink" else None
    if dangling:
        msg = f"symlinks would dangle: {dangling}; set --link-store"
        raise SettingsError(msg)
    relinking = Relinking(
        _libraries(options),
        [Store.open(path, trust_group=force.trust_group) for path in force.stores],
        mode=mode,
        exclude=force.exclude,
        dry_run=options.dry_run,
    )
    with Progress("Relinking", relinking.bytes) as progress:
        report = relinking.run(progress.advance)
    code = FOUND if any(one.refused for one in report.environments) else FINE
    return Result(_json(report), "\n".join(_relink_lines(report)), code)


def _relink_lines(report: Report) -> list[str]:
    lines = []
    for one in report.environments:
        lines.append(one.site_packages)
        if one.refused:
            lines.append(f"  nothing is shared: {one.refused}")
            continue
        by = ", ".join(f"{count:,} by {mode}" for mode, count in one.files.items())
        would = "would be linked" if report.dry_run else "linked"
        lines.append(
            f"  {plural(sum(one.files.values()), 'file')} ({size(one.bytes)}) {would}"
            f"{f': {by}' if by else ''}; {one.already:,} were shared before"
        )
        lines += [
            f"  {plural(count, 'file')} left alone: they {reason}"
            for reason, count in sorted(one.kept.items())
        ]
        lines += [
            f"  {plural(count, 'distribution')} passed over: {reason}"
            for reason, count in sorted(one.passed_over.items())
        ]
        lines += [f"  edited, and left alone: {path}" for path in one.edited]
    spent, freed = report.bytes_stored, report.bytes_freed
    new = plural(len(report.adopted), "new entry", "new entries")
    verb = "Would free" if report.dry_run else "Freed"
    lines.append(
        f"{verb} {size(freed)} in the environments for {size(spent)} in the store "
        f"({new}): {size(freed - spent)} saved"
    )
    if report.bytes_held:
        lines.append(
            f"{size(report.bytes_held)} more come back when the other names of these "
            "files go: the cache of who installed them, or an entry that prune removes"
        )
    return lines


# --- materialize ----------------------------------------------------------------------


def _materialize(options: argparse.Namespace) -> Result:
    stores = in_force(sys.prefix, options.link_store).settings.stores
    materializing = Materializing(_libraries(options), stores)
    with Progress("Materializing", materializing.bytes) as progress:
        found = materializing.run(progress.advance)
    lines = []
    for one in found:
        lines += [
            one.site_packages,
            f"  {plural(one.files, 'file')} ({size(one.bytes)}) made private",
            *(f"  leads nowhere: {path}" for path in one.dangling),
            *(f"  {path}: {reason}" for path, reason in one.failed.items()),
        ]
    code = FOUND if any(one.dangling or one.failed for one in found) else FINE
    return Result([_json(one) for one in found], "\n".join(lines), code)


# --- enable and disable ---------------------------------------------------------------


def _enable(options: argparse.Namespace) -> Result:
    found = [enable(path) for path in options.environments]
    lines = []
    for one in found:
        parts = [
            f"{', '.join(names)} {what}"
            for names, what in ((one.linked, "linked"), (one.already, "was there"))
            if names
        ]
        lines.append(f"{one.site_packages}: {'; '.join(parts)}")
        lines += [f"  WARNING: {warning}" for warning in one.warnings]
    code = FOUND if any(one.warnings for one in found) else FINE
    return Result([_json(one) for one in found], "\n".join(lines), code)


def _disable(options: argparse.Namespace) -> Result:
    found = [disable(path) for path in options.environments]
    lines = []
    for one in found:
        names = ", ".join(one.removed)
        lines.append(
            f"{one.site_packages}: {f'{names} removed' if names else 'was not there'}"
        )
        lines += [f"  left, since others need it: {name}" for name in one.left]
    return Result([_json(one) for one in found], "\n".join(lines))


# --- fill -----------------------------------------------------------------------------


def _fill_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "wanted",
        nargs="*",
        metavar="requirement|wheel|directory",
        help="what pip is to get, or wheels that are there, or a directory of them",
    )
    parser.add_argument(
        "-r",
        "--requirement",
        action="append",
        default=[],
        metavar="file",
        help="a requirements file, as pip takes it",
    )
    parser.add_argument(
        "-c",
        "--constraint",
        action="append",
        default=[],
        metavar="file",
        help="a constraints file, as pip takes it",
    )
    parser.add_argument(
        "--python",
        metavar="python",
        help=(
            "the interpreter, or an environment, that wheels and bytecode are for "
            "(default: the one that runs this)"
        ),
    )


def _fill(options: argparse.Namespace) -> Result:
    who = interpreter(options.python)
    force = in_force(sys.prefix, options.link_store).settings
    if not force.stores:
        msg = f"there is no store: {force.reason or 'link-mode is off'}"
        raise SettingsError(msg)
    stores = [Store.open(path, trust_group=force.trust_group) for path in force.stores]
    wheels: list[str] = []
    requirements = []
    for wanted in options.wanted:
        found = wheels_in(wanted)
        # As for pip, a bare name is a project's, whatever is called so here.
        is_path = os.path.basename(wanted) != wanted
        if not found and is_path and os.path.isdir(wanted):
            msg = f"there are no wheels in {wanted}; pip wheel makes them"
            raise FillRefusedError(msg)
        wheels += found
        requirements += [] if found else [wanted]
    with tempfile.TemporaryDirectory(prefix="pip-linkmode-") as directory:
        if requirements or options.requirement:
            wheels += gather(
                directory,
                requirements,
                options.requirement,
                options.constraint,
                who.executable if options.python else None,
            )
        if not wheels:
            msg = "nothing is named that could be put into a store"
            raise SettingsError(msg)
        with Progress("Filling the store", len(wheels)) as progress:
            report = fill(stores, wheels, who, progress.advance)
    code = FOUND if report.declined else FINE
    return Result(_json(report), "\n".join(_fill_lines(report)), code)


def _fill_lines(report: Filled) -> list[str]:
    rows = [("Package", "Version", "Bytecode", "")]
    rows += [
        (
            one.name,
            one.version,
            report.interpreter.partition("-")[0] if one.compiled else "none",
            "new" if one.fresh else "was there",
        )
        for one in report.wheels
    ]
    lines = [table(rows), ""] if report.wheels else []
    fresh = plural(sum(one.fresh for one in report.wheels), "wheel")
    there = sum(not one.fresh for one in report.wheels)
    lines.append(f"Unpacked {fresh}; {there:,} were there before")
    lines += [
        f"Left to pip: {wheel}: {reason}" for wheel, reason in report.declined.items()
    ]
    return lines


COMMANDS: tuple[Command, ...] = (
    Command(
        "status",
        "Tell whether this pip links, what is in force and where it was set.\n\n"
        "Tries each link mode from each store to the environment.",
        "pip-linkmode status --environment ~/ComfyUI/.venv",
        _status_arguments,
        _status,
    ),
    Command(
        "list",
        "List what is in the store, and which environments use it.",
        "pip-linkmode list --sort size",
        _list_arguments,
        _list,
    ),
    Command(
        "usage",
        "Tell what environments take on the disk, and what links save.\n\n"
        "Inodes and extents count once, however many names or files have them.",
        "pip-linkmode usage ~/ComfyUI/.venv",
        _usage_arguments,
        _usage,
    ),
    Command(
        "verify",
        "Compare stored files with their manifests, and installed ones with RECORD.\n\n"
        "Names every environment that shares a modified file.",
        "pip-linkmode verify --repair --keep ~/experiment/.venv",
        _verify_arguments,
        _verify,
    ),
    Command(
        "prune",
        "Remove from the store what no environment uses.\n\n"
        "Never what an environment has symlinks to.  What cannot be looked at, on a\n"
        "disk that is not mounted, keeps what it uses; what was deleted does not.",
        "pip-linkmode prune --older-than 30d --dry-run",
        _prune_arguments,
        _prune,
    ),
    Command(
        "fill",
        "Put wheels into the store without installing them.\n\n"
        "pip gets what is not there yet, for the interpreter it is wanted for, with\n"
        "its own settings of where from.",
        "pip-linkmode fill -r requirements.txt --link-store /srv/wheels",
        _fill_arguments,
        _fill,
    ),
    Command(
        "relink",
        "Turn environments that exist into links, whoever installed them.\n\n"
        "Each file that is as its RECORD says is replaced by a link to the store's;\n"
        "what no store has is copied there first.  An edited file stays what it is.",
        "pip-linkmode relink ~/ComfyUI/.venv ~/SwarmUI/.venv --dry-run",
        _relink_arguments,
        _relink,
    ),
    Command(
        "materialize",
        "Give environments files of their own, before they are moved or shipped.\n\n"
        "Afterwards no link leads into a store, and no file is shared by its inode.",
        "pip-linkmode materialize ~/ComfyUI/.venv",
        _environment_arguments,
        _materialize,
    ),
    Command(
        "enable",
        "Put pip-linkmode into other environments, by links.",
        "pip-linkmode enable ~/ComfyUI/.venv",
        _environment_arguments,
        _enable,
    ),
    Command(
        "disable",
        "Take pip-linkmode out of environments, and what came with it.\n\n"
        "What it has linked stays, and pip alone can upgrade and uninstall it.",
        "pip-linkmode disable ~/ComfyUI/.venv",
        _environment_arguments,
        _disable,
    ),
)
"""In the order of ``--help``."""
