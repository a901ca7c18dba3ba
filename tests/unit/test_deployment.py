"""The files that operators start from are about this server: its settings, ports and metrics."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from dispatcher.settings import Settings
from dispatcher.settings.sources import Names

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
SETTINGS = Names.of(Settings).every
DRAIN_S = Settings.load({}).drain_timeout_ms / 1000


def read(path: str) -> str:
    """The text of a file of the project."""
    return (ROOT / path).read_text(encoding="utf-8")


# --- Metrics --------------------------------------------------------------------------------------


def metrics_of_the_server() -> set[str]:
    """Names that are defined in the package."""
    sources = (ROOT / "dispatcher").rglob("*.py")
    return {
        name
        for path in sources
        for name in re.findall(r'"(dispatcher_[a-z_]+)"', path.read_text(encoding="utf-8"))
    }


def metrics_in(text: str) -> set[str]:
    """Names that are used in queries; those of a histogram's series stand for the histogram."""
    found = re.findall(r"\bdispatcher_[a-z_]+", text)
    return {re.sub(r"_bucket$|(?<=_seconds)_(sum|count)$", "", name) for name in found}


def queries(path: Path) -> list[str]:
    """Every PromQL expression of a file of alerts or of a dashboard."""
    loaded = (yaml.safe_load if path.suffix == ".yml" else json.loads)(path.read_text("utf-8"))
    return list(_expressions(loaded))


def _expressions(node: Any) -> Iterator[str]:
    match node:
        case dict():
            for key, value in node.items():
                if key in ("expr", "query") and isinstance(value, str):
                    yield value
                else:
                    yield from _expressions(value)
        case list():
            for item in node:
                yield from _expressions(item)


@pytest.mark.parametrize("name", ["prometheus/alerts.yml", "grafana/dashboard.json"])
def test_queries_name_metrics_that_exist(name: str) -> None:
    """An alert on a metric that nobody counts never fires, and nobody notices."""
    used = set().union(*map(metrics_in, queries(CONFIG / name)))
    assert used
    assert used - metrics_of_the_server() == set()


def test_names_of_histograms_are_found_by_their_series() -> None:
    """So that the test above does what it says."""
    text = (
        "rate(dispatcher_a_seconds_bucket[5m]) / dispatcher_b_total + dispatcher_c_records_bucket"
    )
    assert metrics_in(text) == {
        "dispatcher_a_seconds",
        "dispatcher_b_total",
        "dispatcher_c_records",
    }


def test_alerts_say_who_is_called_and_what_to_do() -> None:
    """Each has a severity, a summary and a description, and a name of its own."""
    (group,) = yaml.safe_load(read("config/prometheus/alerts.yml"))["groups"]
    rules = group["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_alerts_fire_when_they_should() -> None:
    """config/prometheus/alerts.test.yml passes."""
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        ended = subprocess.run(
            ["promtool", *command],
            cwd=CONFIG / "prometheus",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_queries_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    """With the variables of Grafana filled in, Prometheus takes each of them."""
    found = [one for one in queries(CONFIG / "grafana" / "dashboard.json") if "(" in one]
    found = [one for one in found if not one.startswith("label_values")]
    texts = [one.replace("$__rate_interval", "5m").replace("$instance", ".*") for one in found]
    rules = [{"record": f"r{number}", "expr": text} for number, text in enumerate(texts)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}), "utf-8")
    command = ["promtool", "check", "rules", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_dashboard_can_be_imported() -> None:
    """Panels have ids of their own, fit in 24 columns, and take the data source that is chosen."""
    dashboard = json.loads(read("config/grafana/dashboard.json"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"]


# --- Settings and times ---------------------------------------------------------------------------


def dockerfile() -> dict[str, str]:
    """Instructions of the last stage, continued lines joined; of equal ones the last."""
    stage = read("Dockerfile").replace("\\\n", " ").rpartition("\nFROM ")[2]
    lines = [line for line in stage.splitlines()[1:] if line and not line.startswith("#")]
    return {name: rest for name, _, rest in (line.partition(" ") for line in lines)}


def compose() -> dict[str, Any]:
    """The service of docker-compose.yml."""
    service: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))["services"]["dispatcher"]
    return service


def unit() -> list[tuple[str, str]]:
    """Lines of the systemd unit."""
    lines = read("config/systemd/dispatcher.service").splitlines()
    return [(a, b) for a, is_there, b in (line.partition("=") for line in lines) if is_there]


def manifests(kind: str) -> list[dict[str, Any]]:
    """The objects of a kind of the Kubernetes example."""
    documents = yaml.safe_load_all(read("config/kubernetes/dispatcher.yaml"))
    return [one for one in documents if one["kind"] == kind]


def manifest(kind: str) -> dict[str, Any]:
    """The one object of a kind of the Kubernetes example."""
    (found,) = manifests(kind)
    return found


def pod() -> dict[str, Any]:
    """The pod of the Kubernetes example."""
    spec: dict[str, Any] = manifest("StatefulSet")["spec"]["template"]["spec"]
    return spec


def variables() -> dict[str, list[str]]:
    """Variables of the environment that each file sets, but those of the container's own."""
    systemd = [value for name, value in unit() if name == "Environment"]
    systemd += re.findall(r"^#?[A-Z_]+=.*$", read("config/systemd/environment"), re.M)
    (container,) = pod()["containers"]
    return {
        "Dockerfile": [*set(re.findall(r"([A-Z_]+)=", dockerfile()["ENV"])) - {"PATH"}],
        "docker-compose.yml": [*compose()["environment"]],
        "systemd": [one.lstrip("#").partition("=")[0] for one in systemd],
        "kubernetes": [
            *(one["name"] for one in container["env"]),
            *manifest("Secret")["stringData"],
        ],
    }


def docker_runs() -> list[str]:
    """Commands of the documentation, and of the Dockerfile's head, that start the server."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "Dockerfile"]
    text = "\n".join(path.read_text("utf-8") for path in paths).replace("\\\n", " ")
    return re.findall(r"(?:docker|podman) run .*", text)


def test_containers_are_published_on_this_machine_only() -> None:
    """As they have no LISTEN_KEYS, they would send whatever anybody tells them to anywhere. The API
    of Compose has a key, and the machine's own services a name."""
    published = [
        one for run in docker_runs() for one in re.findall(r"(?:-p|--publish) ?(\S+)", run)
    ]
    assert published
    assert {one.rpartition(":")[0].rpartition(":")[0] for one in published} == {"127.0.0.1"}
    assert not any("--network host" in run for run in docker_runs())
    service = compose()
    assert all(one.startswith("127.0.0.1:") for one in service["ports"])
    assert service["command"] == ["serve", "--make-api-key"]
    assert service["environment"]["API_KEYS_FILE"]
    assert service["extra_hosts"] == ["host.docker.internal:host-gateway"]


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml", "systemd", "kubernetes"])
def test_variables_are_settings(file: str) -> None:
    """A variable that is misspelt is not set, and nobody is told."""
    names = variables()[file]
    assert names
    assert set(names) - SETTINGS == set()


def test_servers_have_longer_to_stop_than_they_need() -> None:
    """Nothing is killed before DRAIN_TIMEOUT is over, and five seconds for the rest."""
    seconds = {
        "docker-compose.yml": compose()["stop_grace_period"],
        "systemd": dict(unit())["TimeoutStopSec"],
        "kubernetes": f"{pod()['terminationGracePeriodSeconds']}s",
    }
    for file, given in seconds.items():
        assert float(given.removesuffix("s")) >= DRAIN_S + 5, file


def test_image_has_one_user_with_a_fixed_number() -> None:
    """The same in the image and in Kubernetes, where files in volumes belong to it."""
    assert dockerfile()["USER"] == "10001:10001"
    context = pod()["securityContext"]
    assert {context["runAsUser"], context["runAsGroup"], context["fsGroup"]} == {10001}
    assert context["runAsNonRoot"]


def test_logs_are_on_the_volume() -> None:
    """In the image, in Compose and in Kubernetes."""
    home = "/var/lib/dispatcher"
    assert dockerfile()["VOLUME"] == home
    assert dockerfile()["ENV"].count(f"={home}/") == 2
    assert [one.partition(":")[2] for one in compose()["volumes"]] == [home]
    (container,) = pod()["containers"]
    assert [one["mountPath"] for one in container["volumeMounts"]] == [home]


def test_probes_ask_for_paths_that_exist() -> None:
    """Alive decides on a restart, ready on the traffic: a full disk is not healed by a restart."""
    (container,) = pod()["containers"]
    kinds = ("startup", "liveness", "readiness")
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in kinds}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_ports_lead_to_the_listeners() -> None:
    """Service, container and settings of the Kubernetes example agree."""
    (container,) = pod()["containers"]
    settings = {one["name"]: one["value"] for one in container["env"]}
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports == {
        "http": int(settings["LISTEN"].removeprefix(":")),
        "api": int(settings["API_LISTEN"].removeprefix(":")),
    }
    services = {
        one["metadata"]["name"]: [port["targetPort"] for port in one["spec"]["ports"]]
        for one in manifests("Service")
    }
    assert services == {"dispatcher": ["http"], "dispatcher-api": ["api"]}


def test_operators_reach_the_api_of_a_pod_that_is_not_ready() -> None:
    """Callers are kept away from it; the dashboard is what is needed then."""
    reaching = {
        one["metadata"]["name"]: one["spec"].get("publishNotReadyAddresses", False)
        for one in manifests("Service")
    }
    assert reaching == {"dispatcher": False, "dispatcher-api": True}


def test_systemd_waits_until_the_server_says_that_it_is_ready() -> None:
    """However long the log is."""
    told = dict(unit())
    assert told["Type"] == "notify"
    assert told["TimeoutStartSec"] == "infinity"


def test_systemd_restarts_what_gives_no_sign_of_life() -> None:
    """Not before a disk that is only slow has answered: five seconds are a stall, no end."""
    told = dict(unit())
    assert int(told["WatchdogSec"].removesuffix("s")) >= 30
    assert told["Restart"] == "always"


def test_kubernetes_runs_one_replica() -> None:
    """A log has one owner."""
    assert manifest("StatefulSet")["spec"]["replicas"] == 1


# --- The health check of the image ----------------------------------------------------------------


@pytest.fixture(scope="module")
def healthcheck() -> Any:
    """The script, as a module."""
    path = CONFIG / "container" / "healthcheck.py"
    spec = importlib.util.spec_from_file_location("healthcheck", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Answering(BaseHTTPRequestHandler):
    """Is alive, but not ready."""

    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/readyz" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where a server listens that is not ready."""
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (":80", ("127.0.0.1", 80)),
        ("0.0.0.0:8080", ("127.0.0.1", 8080)),
        ("[::]:8080", ("127.0.0.1", 8080)),
        ("[::1]:8080", ("::1", 8080)),
        ("10.0.0.7:81", ("10.0.0.7", 81)),
    ],
)
def test_healthcheck_finds_the_listener(
    healthcheck: Any, listen: str, expected: tuple[str, int]
) -> None:
    """Every interface includes loopback; an address is taken as it is."""
    assert healthcheck.address(listen) == expected


@pytest.mark.parametrize(("path", "code"), [("/readyz", 1), ("/healthz", 0)])
def test_healthcheck_says_what_the_server_says(port: int, path: str, code: int) -> None:
    """As the image runs it, without site-packages; 200 is health, 503 is not."""
    assert run_healthcheck(port, path) == code


def test_healthcheck_fails_when_nothing_listens(unused_port: int) -> None:
    """With a line, not with a traceback."""
    assert run_healthcheck(unused_port) == 1


@pytest.fixture
def unused_port() -> int:
    """A port that was free a moment ago."""
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        return server.server_port


def run_healthcheck(port: int, *arguments: str) -> int:
    """Run the HEALTHCHECK of the image; return its exit code."""
    command = json.loads(dockerfile()["HEALTHCHECK"].partition("CMD ")[2])
    assert command[0] == "python"
    script = CONFIG / "container" / Path(command[-1]).name
    ended = subprocess.run(
        [sys.executable, *command[1:-1], script, *arguments],
        env={"LISTEN": f":{port}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.stdout.count("\n") == 1
    return ended.returncode
