"""`warmset twin` as a process: the address on stdout, an Ollama behind it, an end by Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import httpx

RUN = (sys.executable, "-m", "warmset", "twin")


def test_it_prints_its_address_serves_and_ends_by_interrupt() -> None:
    """The first line names the server; the environment's OLLAMA variables count; Ctrl-C is 130."""
    environ = {**os.environ, "OLLAMA_KEEP_ALIVE": "0"}
    process = subprocess.Popen(
        [*RUN, "laptop", "--port", "0", "--speed", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("OLLAMA_HOST=").strip()
        with httpx.Client(base_url=url, timeout=60.0) as http:
            names = [model["name"] for model in http.get("/api/tags").json()["models"]]
            body = {"model": names[0], "prompt": "hi", "stream": False}
            assert http.post("/api/generate", json=body).json()["done"]
            assert http.get("/api/ps").json() == {"models": []}
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_an_unknown_host_is_a_configuration_error() -> None:
    """The message names what was asked for and what there is; exit code 3."""
    run = subprocess.run([*RUN, "nowhere"], capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert "nowhere" in run.stderr
    assert "workstation" in run.stderr


def test_a_model_that_the_host_lacks_is_a_configuration_error() -> None:
    """`--model` takes only what the host has."""
    command = [*RUN, "laptop", "--port", "0", "--model", "nope:1b"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert "nope:1b" in run.stderr


def test_the_known_hosts_are_listed() -> None:
    """`--list` prints one name per line."""
    run = subprocess.run([*RUN, "--list"], capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert {"laptop", "workstation", "2x24"} <= set(run.stdout.split())


def test_a_port_in_use_is_a_configuration_error() -> None:
    """The message names the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*RUN, "laptop", "--port", str(port)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert str(port) in run.stderr
    assert "--port" in run.stderr
