"""Owners of streams in a real Flink cluster, killed in mid-run; what it committed against `xst run`."""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import numpy as np

import streams

ADAPTERS = streams.ROOT / "apps/engines"
SENSORS = 6
CONFIG = """\
env.java.opts.all: {exports}
jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: localhost
jobmanager.memory.process.size: 900m
taskmanager.bind-host: localhost
taskmanager.host: localhost
taskmanager.numberOfTaskSlots: 1
taskmanager.memory.process.size: 1000m
taskmanager.memory.managed.size: 100m
taskmanager.memory.network.min: 32m
taskmanager.memory.network.max: 32m
rest.port: {rest}
rest.bind-address: localhost
heartbeat.interval: 1000
heartbeat.timeout: 10000
pekko.ask.timeout: 300 s
pekko.startup-timeout: 300 s
web.timeout: 300 s
client.timeout: 300 s
web.refresh-interval: 100
metrics.fetcher.update-interval: 500
parallelism.default: {managers}
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 100000
restart-strategy.fixed-delay.delay: 500 ms
execution.checkpointing.dir: file://{folder}/checkpoints
python.fn-execution.bundle.time: 20
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def children(pid):
    """All processes below one, whatever they are called."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, task.read_text().split()):
                found += [child, *children(child)]
    return found


def workers(pid):
    """The Python processes below a task manager that hold streams."""
    found = []
    for child in children(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"beam_boot" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Cluster:
    """A job manager and task managers of the wheel, on ports of their own; a context manager."""

    def __init__(self, folder, managers=2):
        import pyflink
        self.folder, self.home = pathlib.Path(folder), pathlib.Path(pyflink.__file__).parent
        conf = self.folder / "conf"
        shutil.copytree(self.home / "conf", conf)
        exports = next(line.split(": ", 1)[1] for line in (conf / "config.yaml").read_text().splitlines()
                       if line.strip().startswith("all: "))
        self.rest = free_port()
        (conf / "config.yaml").write_text(CONFIG.format(exports=exports, rpc=free_port(), rest=self.rest, folder=folder,
                                                        managers=managers))
        self.environment = dict(os.environ, FLINK_CONF_DIR=str(conf), FLINK_LOG_DIR=str(self.folder / "log"),
                                FLINK_PID_DIR=str(self.folder))
        self.log = open(self.folder / "cluster.log", "wb")  # noqa: SIM115
        self.count, self.orphans, self.ended = managers, [], 0

    def start(self, script):
        return subprocess.Popen([self.home / "bin" / script, "start-foreground"], env=self.environment,
                                stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)

    def __enter__(self):
        self.master = self.start("jobmanager.sh")
        self.managers = [self.start("taskmanager.sh") for _ in range(self.count)]
        streams.wait(lambda: self.get("overview").get("slots-available") == self.count, "task managers")
        return self

    def __exit__(self, *_):
        for process in [*self.managers, self.master]:
            for pid in children(process.pid):
                kill(pid)
            process.kill()
            process.wait()
        self.end_orphans()
        self.log.close()

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://localhost:{self.rest}/{path}", timeout=10) as answer:
                return json.load(answer)
        except OSError:
            return {}

    def submit(self, *args):
        """The job's id."""
        done = subprocess.run(
            [self.home / "bin/flink", "run", "-d", "-pyexec", sys.executable, "-pyclientexec", sys.executable,
             "-pyfs", ADAPTERS / "contract.py", "-py", ADAPTERS / "on_flink.py", *map(str, args)],
            env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split("JobID ")[1].split()[0]

    def running(self, job):
        job = self.get(f"jobs/{job}")
        return job.get("state") == "RUNNING" and all(v["status"] in ("RUNNING", "FINISHED") for v in job["vertices"])

    def restarted(self, job):
        """When the job last began to restart, in ms since 1970; a restart may be over before the next look."""
        return self.get(f"jobs/{job}").get("timestamps", {}).get("RESTARTING", 0)

    def supervise(self):
        """Starts a task manager that ended by itself again, as a service manager does: with a worker killed while it is
        being released, Beam's reference counting fails at times ("must not be negative"), which Flink takes as fatal."""
        for i, manager in enumerate(self.managers):
            if manager.poll() is not None:
                self.ended += 1
                self.managers[i] = self.start("taskmanager.sh")

    def finished(self, job):
        self.supervise()
        state = self.get(f"jobs/{job}").get("state")
        assert state not in ("FAILED", "CANCELED"), self.get(f"jobs/{job}/exceptions")
        return state == "FINISHED"

    def checkpoints(self, job):
        return self.get(f"jobs/{job}/checkpoints").get("counts", {}).get("completed", 0)

    def records(self, job):
        """How many rows have come to the streams."""
        vertices = self.get(f"jobs/{job}").get("vertices")
        return vertices[-1]["metrics"]["read-records"] if vertices else 0

    def chunks(self, job):
        """How many chunks have been stepped, as the operator counts them."""
        total = 0
        for vertex in self.get(f"jobs/{job}").get("vertices", []):
            path = f"jobs/{job}/vertices/{vertex['id']}/metrics"
            names = [m["id"] for m in self.get(path) if m["id"].endswith(".chunks")]
            if names:
                total += sum(int(m["value"]) for m in self.get(f"{path}?get={urllib.parse.quote(','.join(names))}"))
        return total

    def end_orphans(self):
        for pid in self.orphans:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if str(self.folder).encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes():  # still the same
                    kill(pid)
        self.orphans = []

    def kill_manager(self, index):
        """A whole task manager; its Python worker lives on, until the next of these kills."""
        self.end_orphans()
        self.orphans = children(self.managers[index].pid)
        self.managers[index].kill()
        self.managers[index].wait()
        self.managers[index] = self.start("taskmanager.sh")


def make_round(folder, seed, rows):
    """Inputs of a round: sensor -> (rows, 1); in its file also a line that is not the model's."""
    random_ = np.random.default_rng(seed)
    (folder / "in").mkdir(parents=True)
    inputs = {f"s{i}": streams.samples(random_, rows) for i in range(SENSORS)}
    for sensor, x in inputs.items():
        lines = [f"{sensor},{i},{v}\n" for i, v in enumerate(x[:, 0])]
        lines.insert(len(lines) // 2, f"{sensor},bad,1,2\n")
        (folder / "in" / f"{sensor}.csv").write_text("".join(lines))
    return inputs


def check(folder, inputs, model):
    """Every committed output against the uninterrupted run, each exactly once. Returns how many there are."""
    got, bad = {sensor: {} for sensor in inputs}, []
    for path in (folder / "out").rglob("part-*"):
        if path.name.startswith(".") or "inprogress" in path.name:
            continue
        for line in path.read_text().splitlines():
            sensor, sequence, *y = line.split(",")
            if sequence == "bad":
                assert not y, line
                bad.append(sensor)
                continue
            assert int(sequence) not in got[sensor], f"{sensor}.{sequence}: committed twice"
            got[sensor][int(sequence)] = np.array(y, np.float32)
    assert sorted(bad) == sorted(inputs), bad
    for sensor, x in inputs.items():
        want = streams.uninterrupted(model, x)
        missing = sorted(set(range(len(x))) - set(got[sensor]))
        assert not missing and len(got[sensor]) == len(x), f"{sensor}: missing {missing[:9]} of {len(missing)}"
        y = np.stack([got[sensor][i] for i in range(len(x))])
        assert np.array_equal(y, want, equal_nan=True), f"{sensor}: other bits"
    return sum(map(len, got.values()))


def run(folder, kills, seed, say=lambda text: None, rows=60000):
    """Every tenth kill is of a task manager, the others of a Python worker, which holds the streams."""
    random_, folder = random.Random(seed), pathlib.Path(folder)
    model = streams.pack(folder)
    done = {"engine": "flink", "seed": seed, "kills": 0, "task_managers": 0, "before_checkpoint": 0, "rounds": 0,
            "outputs": 0}
    with Cluster(folder) as cluster:
        while done["kills"] < kills:
            one = folder / f"round{done['rounds']}"
            inputs = make_round(one, seed + done["rounds"], rows)
            job = cluster.submit("--model", model, "--input", one / "in", "--output", one / "out", "--chunk",
                                 random_.choice([16, 64]), "--checkpoint-ms", 300)
            while done["kills"] < kills and not cluster.finished(job):
                completed, early = cluster.checkpoints(job), random_.random() < 0.2
                streams.wait(lambda: cluster.finished(job) or (
                    cluster.running(job) and (early or cluster.checkpoints(job) > completed)), "a checkpoint")
                time.sleep(random_.uniform(0, 1))
                cluster.supervise()
                index = random_.randrange(len(cluster.managers))
                victims = workers(cluster.managers[index].pid)
                if cluster.finished(job) or not victims:
                    continue
                before = cluster.restarted(job)
                if done["kills"] % 10 == 1:
                    cluster.kill_manager(index)
                    done["task_managers"] += 1
                else:
                    kill(random_.choice(victims))
                done["kills"] += 1
                done["before_checkpoint"] += cluster.checkpoints(job) == completed
                streams.wait(lambda: cluster.finished(job) or cluster.restarted(job) > before, "a failover")
                say(json.dumps(done))
            streams.wait(lambda: cluster.finished(job), "the end of the round")
            done["outputs"] += check(one, inputs, model)
            done["rounds"] += 1
            done["ended_themselves"] = cluster.ended
            shutil.rmtree(one)
    return done
