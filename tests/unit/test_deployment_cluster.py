"""The files that operators start a cluster from fit each other, and this server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dispatcher import __version__
from dispatcher.settings import Settings
from dispatcher.settings.sources import Names
from dispatcher.testing.nats import find_server

ROOT = Path(__file__).parents[2]
SETTINGS = Names.of(Settings).every
NODES = ("dispatcher1", "dispatcher2", "dispatcher3")
SERVERS = ("nats1", "nats2", "nats3")
OF_NATS = {"NATS_PASSWORD"}
"""Variables of a node's container that others are made of."""
MARGIN = 64 << 20
"""What a stream may take above CLUSTER_QUOTA."""


def read(path: str) -> str:
    """The text of a file of the project."""
    return (ROOT / path).read_text(encoding="utf-8")


def compose() -> dict[str, Any]:
    """The file of Compose."""
    made: dict[str, Any] = yaml.safe_load(read("config/cluster/docker-compose.yml"))
    return made


def manifest(kind: str, name: str) -> dict[str, Any]:
    """An object of the Kubernetes example."""
    every = yaml.safe_load_all(read("config/kubernetes/cluster.yaml"))
    (found,) = [each for each in every if each["kind"] == kind and each["metadata"]["name"] == name]
    return dict(found)


def pod(name: str) -> dict[str, Any]:
    """A pod of the Kubernetes example."""
    spec: dict[str, Any] = manifest("StatefulSet", name)["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    """The one container of a pod."""
    (found,) = pod(name)["containers"]
    return dict(found)


def values(name: str) -> dict[str, str]:
    """Variables of a container of Kubernetes; empty where they are of a secret or a field."""
    return {one["name"]: one.get("value", "") for one in container(name)["env"]}


def environment(service: str) -> dict[str, str]:
    """Variables of a service of Compose."""
    found: dict[str, str] = compose()["services"][service]["environment"]
    return found


def hosts(urls: str) -> list[str]:
    """The hosts that CLUSTER names."""
    return re.findall(r"@([a-z0-9.-]+):4222", urls)


def without_comments(text: str) -> list[str]:
    """The lines of a NATS configuration that say something."""
    return [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]


def test_variables_of_a_node_are_settings() -> None:
    """A variable that is misspelt is not set, and nobody is told."""
    for node in NODES:
        assert environment(node).keys() - SETTINGS == set()
    assert values("dispatcher").keys() - SETTINGS == OF_NATS


@pytest.mark.parametrize("name", ["cluster", "dispatcher"])
def test_image_that_is_named_is_of_this_version(name: str) -> None:
    """An older one does not know all settings of the file."""
    text = read(f"config/kubernetes/{name}.yaml")
    (found,) = re.findall(r"^ +image: \S+/dispatcher:(\S+)$", text, re.MULTILINE)
    assert found == __version__


def test_image_of_compose_is_built_by_one_service() -> None:
    """Builds of one name at a time fail, as each finds the name taken."""
    services = compose()["services"]
    assert [name for name in NODES if "build" in services[name]] == ["dispatcher1"]
    assert {services[name]["image"] for name in NODES} == {"dispatcher"}


def test_settings_of_a_cluster_are_accepted() -> None:
    """As the containers give them to the server."""
    secrets = {"CLUSTER_KEY": "k" * 64, "API_KEYS": "a" * 32, "LISTEN_KEYS": ""}
    for node in NODES:
        given = {
            name: value.replace("${NATS_PASSWORD}", "secret")
            for name, value in (environment(node) | secrets).items()
        }
        loaded = Settings.load(given)
        assert len(loaded.cluster) == 3
        assert loaded.node == node
    of_pod = values("dispatcher")
    given = of_pod | secrets | {"NODE": "dispatcher-0"}
    given |= {"CLUSTER_ADVERTISE": of_pod["CLUSTER_ADVERTISE"].replace("$(NODE)", "dispatcher-0")}
    given |= {"CLUSTER": of_pod["CLUSTER"].replace("$(NATS_PASSWORD)", "secret")}
    assert len(Settings.load(given).cluster) == 3


def test_nodes_of_compose_differ_in_what_is_theirs() -> None:
    """Their name, where others reach them, and which NATS server they name first."""
    theirs = {"NODE", "CLUSTER_ADVERTISE", "CLUSTER"}
    common = [
        {name: value for name, value in environment(node).items() if name not in theirs}
        for node in NODES
    ]
    assert common[0] == common[1] == common[2]
    for node, server in zip(NODES, SERVERS, strict=True):
        mine = environment(node)
        assert mine["NODE"] == node
        assert mine["CLUSTER_ADVERTISE"] == node + mine["CLUSTER_LISTEN"]
        assert hosts(mine["CLUSTER"])[0] == server
        assert set(hosts(mine["CLUSTER"])) == set(SERVERS)
        assert compose()["services"][node]["volumes"] == [f"{node}:/var/lib/dispatcher"]


def test_balancer_has_all_nodes_and_asks_whether_they_are_ready() -> None:
    """For messages and for the API. It hands bytes on as they are."""
    text = read("config/cluster/haproxy.cfg")
    found = re.findall(r"^    server node\d (\S+)$", text, re.MULTILINE)
    assert found == [f"{node}:80" for node in NODES] + [f"{node}:8081" for node in NODES]
    assert "\n    mode tcp\n" in text
    assert "\n    option httpchk GET /readyz\n" in text


def test_what_is_published_is_on_this_machine_only() -> None:
    """And of the cluster's own ports nothing is."""
    published = {name: one.get("ports", []) for name, one in compose()["services"].items()}
    assert published.pop("balancer") == ["127.0.0.1:8080:80", "127.0.0.1:8081:8081"]
    assert not any(published.values())
    assert compose()["networks"]["inside"]["internal"] is True
    assert all(compose()["services"][one]["networks"] == ["inside"] for one in SERVERS)


@pytest.mark.parametrize("server", SERVERS)
def test_nats_servers_know_each_other(server: str) -> None:
    """By the names that the services have."""
    mine = environment(server)
    assert mine["NAME"] == server
    assert re.findall(r"@(nats\d):6222", mine["ROUTES"]) == list(SERVERS)


def test_both_examples_have_the_same_nats_settings() -> None:
    """The comments are in one of them."""
    of_kubernetes = manifest("ConfigMap", "dispatcher-nats")["data"]["nats.conf"]
    assert without_comments(of_kubernetes) == without_comments(read("config/cluster/nats.conf"))


def test_streams_of_all_partitions_fit_into_the_store() -> None:
    """What a stream may take is reserved: with too little a cluster is not made."""
    (limit,) = re.findall(r"max_file_store: (\d+)GB", read("config/cluster/nats.conf"))
    for given in (environment("dispatcher1"), values("dispatcher")):
        quota = Settings.load({"CLUSTER_QUOTA": given["CLUSTER_QUOTA"]} | _CLUSTER)
        streams = 2 * quota.partitions + 2
        assert streams * (quota.cluster_quota_bytes + MARGIN) < int(limit) << 30
    (claim,) = manifest("StatefulSet", "dispatcher-nats")["spec"]["volumeClaimTemplates"]
    storage = claim["spec"]["resources"]["requests"]["storage"]
    assert int(storage.removesuffix("Gi")) > int(limit)


_CLUSTER = {"CLUSTER": "nats://a:1,nats://b:1,nats://c:1", "CLUSTER_KEY": "k" * 64}


@pytest.mark.skipif(find_server() is None, reason="there is no nats-server")
def test_nats_takes_its_settings(tmp_path: Path) -> None:
    """With the variables that the examples set."""
    routes = environment("nats1")["ROUTES"].replace("${NATS_PASSWORD}", "secret")
    ended = subprocess.run(
        [str(find_server()), "-t", "-c", str(ROOT / "config/cluster/nats.conf")],
        env={"NAME": "nats1", "PASSWORD": "secret", "ROUTES": routes},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_kubernetes_takes_one_of_each_away_at_a_time() -> None:
    """A majority of NATS servers stays, on machines of their own, and nodes that take over."""
    for name in ("dispatcher", "dispatcher-nats"):
        labels = manifest("StatefulSet", name)["spec"]["selector"]["matchLabels"]
        budget = manifest("PodDisruptionBudget", name)["spec"]
        assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
        (term,) = pod(name)["affinity"]["podAntiAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        assert term["labelSelector"] == {"matchLabels": labels}
        assert manifest("StatefulSet", name)["spec"]["replicas"] == 3


def test_kubernetes_names_lead_to_the_pods() -> None:
    """Of NATS servers and nodes, by the headless Services of their sets."""
    expected = [f"dispatcher-nats-{one}.dispatcher-nats" for one in range(3)]
    assert hosts(values("dispatcher")["CLUSTER"]) == expected
    assert values("dispatcher")["CLUSTER_ADVERTISE"] == "$(NODE).dispatcher-nodes:8082"
    for name, service in (("dispatcher", "dispatcher-nodes"), ("dispatcher-nats",) * 2):
        assert manifest("StatefulSet", name)["spec"]["serviceName"] == service
        assert manifest("Service", service)["spec"]["clusterIP"] == "None"


def test_ports_and_probes_of_a_node_lead_to_its_listeners() -> None:
    """Alive decides on a restart, ready on the traffic."""
    settings, one = values("dispatcher"), container("dispatcher")
    assert {port["name"]: port["containerPort"] for port in one["ports"]} == {
        "http": int(settings["LISTEN"].removeprefix(":")),
        "api": int(settings["API_LISTEN"].removeprefix(":")),
        "cluster": int(settings["CLUSTER_LISTEN"].removeprefix(":")),
    }
    kinds = ("startup", "liveness", "readiness")
    paths = {kind: one[f"{kind}Probe"]["httpGet"]["path"] for kind in kinds}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_nodes_have_longer_to_stop_than_they_need() -> None:
    """Partitions are handed over after DRAIN_NOTICE and DRAIN_TIMEOUT."""
    drain_s = Settings.load({}).drain_timeout_ms / 1000
    for node in NODES:
        grace = compose()["services"][node]["stop_grace_period"]
        assert float(grace.removesuffix("s")) > drain_s + 5
    names = ("DRAIN_NOTICE", "DRAIN_TIMEOUT")
    given = Settings.load({name: values("dispatcher")[name] for name in names})
    needed_s = (given.drain_notice_ms + given.drain_timeout_ms) / 1000
    assert pod("dispatcher")["terminationGracePeriodSeconds"] > needed_s + 5
