"""A RabbitMQ node of Debian's package, run from a folder of its own and on loopback only."""

import os
import pathlib
import signal
import socket
import subprocess
import time


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


def bound(words):
    """The same command, which dies with this process."""
    return ["setpriv", "--pdeathsig", "KILL", "--", *words]


class Broker:
    def __init__(self, folder):
        self.folder = folder
        self.port, distribution, mapper = free_ports(3)
        home = folder / "home"
        home.mkdir(parents=True)
        (folder / "enabled_plugins").write_text("[].")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\nloopback_users = none\nlog.console = true\nlog.file = false\n"
            "log.console.level = warning\nvm_memory_high_watermark.absolute = 512MB\ndisk_free_limit.absolute = 50MB\n"
        )
        self.name, self.url = f"soak{self.port}@localhost", f"amqp://guest:guest@127.0.0.1:{self.port}/%2f"
        self.programs = sorted(pathlib.Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))[-1]
        paths = {
            "RABBITMQ_CONFIG_FILE": "rabbitmq.conf", "RABBITMQ_ENABLED_PLUGINS_FILE": "enabled_plugins",
            "RABBITMQ_MNESIA_BASE": "data", "RABBITMQ_LOG_BASE": "log", "RABBITMQ_GENERATED_CONFIG_DIR": "generated",
            "RABBITMQ_PID_FILE": "pid", "RABBITMQ_FEATURE_FLAGS_FILE": "flags", "HOME": "home",
        }
        self.environment = os.environ | {name: str(folder / path) for name, path in paths.items()} | {
            "RABBITMQ_NODENAME": self.name, "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(mapper), "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self.mapper = subprocess.Popen(
            bound(["epmd", "-port", str(mapper)]), env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.node, self.ending = None, False
        self.start()

    def start(self):
        self.ending = False
        # The script becomes the node, so that a signal to it reaches the node.
        environment = self.environment | {
            "RUNNING_UNDER_SYSTEMD": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +A 4",
        }
        with open(self.folder / "node.log", "ab") as log:
            words = bound([str(self.programs / "rabbitmq-server")])
            self.node = subprocess.Popen(words, env=environment, stdout=log, stderr=log)

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as peer:
                # To a wrong greeting the node says its own.
                peer.settimeout(60)
                peer.sendall(b"STILLPNT")
                return peer.recv(4) == b"AMQP"
        except OSError:
            return False

    def keep(self):
        """Starts it again where it has ended."""
        if self.node.poll() is not None:
            self.start()

    def wait(self, seconds=300):
        until = time.monotonic() + seconds
        while self.ending or not self.answers():
            self.keep()
            if time.monotonic() > until:
                raise SystemExit(f"the broker does not listen; see {self.folder}/node.log")
            time.sleep(0.2)

    def end(self, how):
        self.node.send_signal(how)
        self.ending = True
        if how == signal.SIGKILL:
            self.node.wait()

    def purge(self):
        """Begins to throw away what waits in all queues."""
        words = [str(self.programs / "rabbitmqctl"), "-q", "-n", self.name, "eval"]
        script = '[rabbit_amqqueue:purge(Q) || Q <- rabbit_amqqueue:list(<<"/">>)].'
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(bound([*words, script]), env=self.environment, **quiet)
