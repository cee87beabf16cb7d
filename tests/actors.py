"""Real processes with the command lines of Ollama's server, its runners and a game.

One small C program plays every role: the kernel names a process by its file, so each role is a
link to it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

ROLES = ("ollama", "llama-server", "game.x86_64", "docker-proxy")

ACTOR = """
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
/* argv is the role's command line. With PORT in the environment it listens there, on a loopback
 * address that nobody else uses. Orders come on standard input, one line each: "+ name arg arg"
 * starts a child and prints its PID, "-" reaps all children, "~" those that have ended. With
 * --spin it burns CPU for ever. */
static void listen_on(const char *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    inet_pton(AF_INET, "127.0.0.77", &at.sin_addr);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(s, (struct sockaddr *)&at, sizeof at) || listen(s, 1)) _exit(2);
}
int main(int argc, char **argv)
{
    char line[4096], *words[64];
    if (getenv("PORT")) listen_on(getenv("PORT"));
    puts("ready"); fflush(stdout);
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--spin")) for (;;) continue;
    while (fgets(line, sizeof line, stdin)) {
        int n = 0;
        if (line[0] == '-' || line[0] == '~') {
            while (waitpid(-1, NULL, line[0] == '~' ? WNOHANG : 0) > 0) continue;
            puts("0"); fflush(stdout); continue;
        }
        for (char *w = strtok(line + 2, " \\n"); w && n < 63; w = strtok(NULL, " \\n"))
            words[n++] = w;
        words[n] = NULL;
        pid_t child = fork();
        if (!child) {
            unsetenv("PORT"); close(0); close(1);
            execv(getenv("ACTOR"), words); _exit(1);
        }
        printf("%d\\n", (int)child);
        fflush(stdout);
    }
    pause();
    return argv == NULL;
}
"""


def make_process_table(folder: Path, *pids: int) -> Path:
    """Makes a process table of these processes alone, for `HOST_PROC`: tests beside this one have
    runners too, whose loads would hold it up."""
    proc = folder / "proc"
    proc.mkdir(parents=True)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or entry.name == "1":  # it tells whose PIDs these are
            (proc / entry.name).symlink_to(entry)
    for pid in pids:
        (proc / str(pid)).symlink_to(f"/proc/{pid}")
    return proc


class Actors:
    """An Ollama server's process, and whatever a scene starts.

    `proc` is a process table that shows these and no others, for `HOST_PROC`.

    Args:
        folder: For the program.
        port: Where the server is to be seen listening.
        environment: Of the server, which its runners inherit.
        proc: A process table that is there already.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        proc: Path | None = None,
    ) -> None:
        self.folder = folder
        self.port = port
        self.environment = dict(environment or {})
        source = folder / "actor.c"
        source.write_text(ACTOR)
        subprocess.run(["cc", "-o", folder / "actor", source], check=True)
        for name in ROLES:
            (folder / name).symlink_to("actor")
        self.proc = proc or make_process_table(folder)
        self.started: list[subprocess.Popen[str]] = []
        self.alive: list[int] = []
        self.server = self.start("ollama serve")

    def start(self, line: str) -> subprocess.Popen[str]:
        """Starts a process with this command line."""
        env = {"ACTOR": str(self.folder / "llama-server")} | self.environment
        if self.port is not None and line.endswith(" serve"):
            env["PORT"] = str(self.port)
        actor = subprocess.Popen(
            line.split(),
            executable=self.folder / Path(line.partition(" ")[0]).name,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(actor)
        self.show(actor.pid)
        assert actor.stdout is not None
        assert actor.stdout.readline() == "ready\n"
        return actor

    def load(self, hexes: str, options: str = "-c 8192 -np 2") -> int:
        """Lets the server start a runner of a blob; returns its PID."""
        pid = self.order(
            f"+ /usr/lib/ollama/llama-server --model /m/blobs/sha256-{hexes} {options}"
        )
        self.alive.append(pid)
        self.show(pid)
        wait_until(lambda: hexes in " ".join(psutil.Process(pid).cmdline()))
        return pid

    def show(self, pid: int) -> None:
        """Lets the scene see a process."""
        (self.proc / str(pid)).symlink_to(f"/proc/{pid}")

    def order(self, text: str) -> int:
        """Gives the server an order; returns its answer."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(text + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def kill(self, pid: int) -> None:
        """Ends a runner hard, as Ollama does; nobody reaps it, so that is seen too."""
        os.kill(pid, 9)
        self.alive.remove(pid)
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)

    def end_runner(self, pid: int) -> None:
        """Ends a runner hard and reaps it, as Ollama does in the end."""
        self.kill(pid)
        self.order("~")

    def crash_server(self) -> None:
        """Lets the server die and another one take its place; the runners stay."""
        self.server.kill()
        self.server.wait()
        self.server = self.start("ollama serve")

    def end(self) -> None:
        """Ends every process of the scene."""
        for pid in self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.order("-")
        for actor in self.started:
            actor.kill()
            actor.communicate()


def wait_until(fact: Callable[[], bool]) -> None:
    """Waits for another process, on a machine that may have other work."""
    deadline = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < deadline, "it did not come true in a minute"
        time.sleep(0.01)
