"""Network file systems, and hosts that mount them, on one machine.

Servers and hosts are processes in namespaces: each host has a name, a mount table and a
boot id of its own, and all share one network that ends at its loopback device.  Nothing
is seen outside, no port of the machine is used, and the kernel removes everything when
the process of the tests ends, however it ends.

Needs root that may mount FUSE file systems, and Debian's glusterfs-server,
glusterfs-client, sshfs, openssh-sftp-server, xfsprogs and iproute2; for MooseFS, its
moosefs-master, moosefs-chunkserver and moosefs-client.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ADDRESS = "10.254.0.1"
"""Of the servers: neither GlusterFS nor MooseFS accepts a loopback address."""
DEMAND = "PIP_LINKMODE_TEST_NETWORK"
"""The variable that makes a failure of what would be skipped."""
MOOSEFS = "PIP_LINKMODE_TEST_MOOSEFS"
"""The variable that also runs what is left out for want of time."""
SFTP_SERVER = "/usr/lib/openssh/sftp-server"
_SECONDS = 30
_NAMESPACES = ("--mount", "--uts", "--net")
_DIES_WITH_THE_TESTS = ("setpriv", "--pdeathsig", "KILL")


class UnavailableError(Exception):
    """A file system that cannot be started here."""


def wait_for(
    condition: Callable[[], object], what: str, seconds: float = _SECONDS
) -> None:
    """Wait until a condition holds.

    :raises UnavailableError: if it does not within some seconds
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            msg = f"waited {seconds} s: {what}"
            raise UnavailableError(msg)
        time.sleep(0.02)


class Machine:
    """A process in namespaces of its own, in which others can be started."""

    def __init__(
        self, *command: str, script: str = ":", last: str = "exec sleep inf"
    ) -> None:
        """Start it.

        :param command: enters or makes the namespaces
        :param script: shell commands to run there first
        :param last: the command that runs until the machine stops
        """
        # The shell reads its number itself, as /proc outside of the namespace has it.
        number = "read -r pid rest </proc/self/stat; echo $pid"
        shell = f"set -e; {number}; {script}\necho ready; {last}"
        self._process = subprocess.Popen(
            [*_DIES_WITH_THE_TESTS, *command, "sh", "-c", shell],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._children: list[subprocess.Popen[bytes]] = []
        said = [self._process.stdout.readline() for _ in ("number", "ready")]
        if not said[1]:
            raise UnavailableError(self._process.communicate()[1].strip())
        self.pid = int(said[0])

    @property
    def command(self) -> tuple[str, ...]:
        """Return what runs a command there."""
        return ("nsenter", f"--target={self.pid}", *_NAMESPACES)

    def run(
        self, *command: str | Path, check: bool = True, more: tuple[str, ...] = ()
    ) -> str:
        """Run a command and return what it printed.

        :param more: further namespaces to enter
        :raises UnavailableError: if it fails
        """
        done = subprocess.run(
            [*self.command, *more, *command],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            said = f"{done.stdout}{done.stderr}"
            msg = f"{' '.join(map(str, command))}: {done.returncode}\n{said}"
            raise UnavailableError(msg)
        return done.stdout

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a command that runs until the machine stops, or the tests."""
        process = subprocess.Popen(
            [*_DIES_WITH_THE_TESTS, *self.command, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._children.append(process)
        return process

    def see(self, path: Path) -> Path:
        """Return where this process sees a path of the machine; no absolute links."""
        return Path(f"/proc/{self.pid}/root{path}")

    def stop(self) -> None:
        """End all that was started there."""
        processes: list[subprocess.Popen[Any]] = [*self._children, self._process]
        for process in processes:
            process.kill()
            process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


class Host(Machine):
    """A host of a name, which has mounted a file system at the place of all hosts."""

    def __init__(self, share: Share, name: str, boot_id: str | None = None) -> None:
        """Start a host.

        :param boot_id: another's, for a container on the same host; else its own
        """
        self._share, self.name = share, name
        self.boot_id = boot_id or str(uuid.uuid4())
        file = share.place / f"boot-{uuid.uuid4()}"
        file.write_text(f"{self.boot_id}\n")
        super().__init__(
            *("nsenter", f"--target={share.machine.pid}", "--net", "--"),
            *("unshare", "--mount", "--uts"),
            # Nothing is written below while the file system is not mounted.
            script=(
                f"hostname {name}\n"
                f"mount --bind {file} /proc/sys/kernel/random/boot_id\n"
                f"mount --bind {share.shared} {share.shared}\n"
                f"mount -o remount,bind,ro {share.shared}"
            ),
        )
        self._client: subprocess.Popen[bytes] | None = None

    def mount(self, *, read_only: bool = False, cached: bool = False) -> None:
        """Mount the file system."""
        shared = self._share.shared
        command = self._share.client(read_only=read_only, cached=cached)
        self._client = self.start(*command)
        wait_for(self._is_mounted, f"{shared} is not mounted")
        wait_for(
            lambda: self.run("stat", shared / ".", check=False),
            f"{shared} is not there",
        )

    def kill_client(self) -> None:
        """Kill what has mounted the file system, as for want of memory."""
        assert self._client is not None
        self._client.kill()
        self._client.wait()

    def mount_again(self) -> None:
        """Mount the file system after its client or its server was killed."""
        self.kill_client()
        if self._is_mounted():  # sshfs unmounts when its server ends
            self.run("umount", "--lazy", self._share.shared)
        self.mount()

    def _is_mounted(self) -> bool:
        """Return whether there is more than the read-only directory below."""
        table = Path(f"/proc/{self.pid}/mountinfo").read_text()
        return table.count(f" {self._share.shared} ") > 1


class Share:
    """A network file system: one server, and clients on hosts."""

    name = ""
    programs: tuple[str, ...] = ()
    loses_clients = False
    """Whether a host has to mount again after the server was killed."""
    reads_symlinks = True

    def __init__(self, place: Path) -> None:
        """Start the server.

        :param place: an empty directory
        :raises UnavailableError: if it cannot be started here
        """
        missing = [one for one in self.programs if not shutil.which(one)]
        if missing:
            msg = f"needs {', '.join(missing)}"
            raise UnavailableError(msg)
        self.place = place
        self.shared = place / "shared"
        """Where each host mounts it."""
        self.shared.mkdir()
        self._hosts: list[Host] = []
        unshared = ("--mount", "--net", "--pid", "--uts", "--ipc", "--fork")
        self.machine = Machine(
            *("unshare", *unshared, "--kill-child"),
            script=(
                "mount -t proc proc /proc; ip link set lo up\n"
                f"ip address add {ADDRESS}/32 dev lo"
            ),
            # The first process has to collect the servers that were killed.
            last="sleep inf & wait",
        )
        try:
            self.serve()
        except BaseException:
            self.machine.stop()
            raise

    def inside(self, script: str) -> str:
        """Run shell commands on the server; what they leave behind ends with it."""
        return self.machine.run("sh", "-ec", script, more=("--pid",))

    def serve(self) -> None:
        """Start the server."""
        raise NotImplementedError

    def client(self, *, read_only: bool, cached: bool) -> tuple[str | Path, ...]:
        """Return the command that mounts it at ``shared`` until it is killed.

        :param cached: keep what was read for minutes, if there is an option for that
        """
        raise NotImplementedError

    def kill_server(self) -> None:
        """Kill what holds the data."""
        raise NotImplementedError

    def restart_server(self) -> None:
        """Start it again after that; each host may have to mount again."""
        raise NotImplementedError

    def host(
        self,
        name: str,
        *,
        boot_id: str | None = None,
        read_only: bool = False,
        cached: bool = False,
    ) -> Host:
        """Return a new host that has mounted it."""
        host = Host(self, name, boot_id)
        self._hosts.append(host)
        host.mount(read_only=read_only, cached=cached)
        return host

    @contextlib.contextmanager
    def inspector(self) -> Iterator[Host]:
        """Give a host that has no file and no listing in a cache."""
        host = self.host("inspector")
        try:
            yield host
        finally:
            host.stop()
            self._hosts.remove(host)

    def stop(self) -> None:
        """End the hosts and the server."""
        for host in self._hosts:
            host.stop()
        self.machine.stop()

    def _disk(self, path: str) -> str:
        return (
            f"truncate -s 4G {path}.img; mkfs.xfs -q -f -i size=512 {path}.img\n"
            f"mkdir {path}; mount -o loop {path}.img {path}; rm {path}.img\n"
        )


class GlusterFS(Share):
    """One volume of one brick."""

    name = "GlusterFS"
    programs = ("glusterd", "gluster", "glusterfs", "mkfs.xfs", "ip")

    def serve(self) -> None:
        private = "/var/lib/glusterd /var/log/glusterfs /run"
        brick = self.place / "brick"
        self.inside(
            f"for d in {private}; do mkdir -p $d; mount -t tmpfs none $d; done\n"
            "mkdir /run/gluster\n"
            f"{self._disk(str(brick))} mkdir {brick}/data\n"
            f"glusterd --log-level WARNING -p {self.place}/glusterd.pid"
        )
        gluster = "gluster --mode=script volume"
        wait_for(
            lambda: "up" in self.inside(f"{gluster} list >&2 && echo up || true"),
            "glusterd does not answer",
        )
        self.inside(
            f"{gluster} create linkmode {ADDRESS}:{brick}/data force\n"
            f"{gluster} start linkmode"
        )

    def client(self, *, read_only: bool, cached: bool) -> tuple[str | Path, ...]:
        options: tuple[str, ...] = ("--read-only",) if read_only else ()
        if cached:  # 1 second by default
            options += ("--attribute-timeout=600", "--entry-timeout=600")
        volume = (f"--volfile-server={ADDRESS}", "--volfile-id=linkmode")
        log = (f"--log-file={self.place}/client.log", "--log-level=ERROR")
        return ("glusterfs", "--no-daemon", *log, *options, *volume, self.shared)

    def kill_server(self) -> None:
        self.inside("kill -KILL $(cat /run/gluster/vols/linkmode/*.pid)")

    def restart_server(self) -> None:
        # Until glusterd has seen the end of the brick, it does not start another one.
        start = "gluster --mode=script volume start linkmode force >&2 || true"
        alive = "kill -0 $(cat /run/gluster/vols/linkmode/*.pid) && echo up || true"
        wait_for(lambda: self.inside(f"{start}\n{alive}"), "the brick does not start")


class MooseFS(Share):
    """A master and one chunk server."""

    name = "MooseFS"
    programs = ("mfsmaster", "mfschunkserver", "mfsmount", "mkfs.xfs", "ip")

    def serve(self) -> None:
        place = self.place
        common = "WORKING_USER = root\nWORKING_GROUP = root\n"
        listen = "".join(
            f"MATO{who}_LISTEN_HOST = {ADDRESS}\n" for who in ("ML", "CS", "CL")
        )
        (place / "master").write_text(
            f"{common}DATA_PATH = {place}/metadata\n{listen}"
            f"EXPORTS_FILENAME = {place}/exports\n"
        )
        (place / "exports").write_text("* / rw,alldirs,admin,maproot=0:0\n")
        (place / "chunks").write_text(
            f"{common}DATA_PATH = {place}/chunk-data\n"
            f"HDD_CONF_FILENAME = {place}/disks\n"
            f"MASTER_HOST = {ADDRESS}\nBIND_HOST = {ADDRESS}\n"
            f"CSSERV_LISTEN_HOST = {ADDRESS}\n"
        )
        (place / "disks").write_text(f"{place}/disk\n")
        for name in ("metadata", "chunk-data"):
            (place / name).mkdir()
        (place / "metadata" / "metadata.mfs").write_text("MFSM NEW")
        self.inside(
            f"{self._disk(f'{place}/disk')} mfsmaster -c {place}/master start\n"
            f"mfschunkserver -c {place}/chunks start"
        )
        with self.inspector() as host:
            size = ("stat", "--file-system", "--format=%b", self.shared)
            wait_for(lambda: int(host.run(*size)), "the chunk server has not joined")

    def client(self, *, read_only: bool, cached: bool) -> tuple[str | Path, ...]:
        options: tuple[str, ...] = ("-o", "ro") if read_only else ()
        if cached:  # 1 second by default
            options += ("-o", "mfsattrcacheto=600,mfsdirentrycacheto=600")
        return ("mfsmount", self.shared, "-f", "-H", ADDRESS, *options)

    def kill_server(self) -> None:
        self.inside(f"kill -KILL $(cat {self.place}/chunk-data/.mfschunkserver.lock)")

    def restart_server(self) -> None:
        self.inside(f"mfschunkserver -c {self.place}/chunks start")


class Sshfs(Share):
    """An SFTP server for each client, and no ssh between them.

    Version 3.7.3 does not read symlinks (``EPERM``), and each name of a file has an
    inode number of its own.
    """

    name = "sshfs"
    programs = ("sshfs", SFTP_SERVER, "ip")
    loses_clients = True
    reads_symlinks = False

    def serve(self) -> None:
        (self.place / "data").mkdir()
        script = self.place / "ssh"
        script.write_text(
            f"#!/bin/sh\nread -r pid rest </proc/self/stat\n"
            f"echo $pid >>{self.place}/servers\nexec {SFTP_SERVER}\n"
        )
        script.chmod(0o755)

    def client(self, *, read_only: bool, cached: bool) -> tuple[str | Path, ...]:
        options = f"ssh_command={self.place}/ssh,allow_other" + ",ro" * read_only
        options += ",dcache_timeout=600" * cached  # 20 seconds by default
        return ("sshfs", "-f", "-o", options, f"host:{self.place}/data", self.shared)

    def kill_server(self) -> None:
        for pid in (self.place / "servers").read_text().split():
            # A server of a host that was stopped has ended.
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "sftp-server\n":
                    os.kill(int(pid), signal.SIGKILL)
        (self.place / "servers").unlink()

    def restart_server(self) -> None:
        for host in self._hosts:
            host.mount_again()


KINDS: tuple[type[Share], ...] = (GlusterFS, MooseFS, Sshfs)
