"""fleet.toml from an SSH configuration, a table, an Ansible inventory."""

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from edgewright.base.errors import ExitCode, UserError
from edgewright.fleet import ansible, inventory
from edgewright.fleet.ansible import from_ansible
from edgewright.fleet.imported import ImportedHost, fleet_text, from_csv, from_ssh_config
from tests.unit.cli.test_cli import run, start

CONFIG = """
Host gate bastion
  HostName 198.51.100.7
  User ops
  Port 2222
Host oven-1 oven-2
  ProxyJump gate
Host oven-1
  HostName 10.0.0.7
Host oven-2
  HostName 10.0.0.8
Host far
  ProxyJump ops@203.0.113.9:22,inner
  HostName fd00::7
Host *.example !bad
  Port 23
Host *
  User root
"""
TABLE = """Name;Address;User;Port;Site;Kind;Jump;Line;Canary
Oven 1;10.0.0.7;root;;Hall A;a53-som;ops@198.51.100.7:2222;3;true
saw;saw.example;;2200;;;;;
Drill;ops@drill.example:23;root;;;;;;
six;fd00::7;;;;;;;
"""
INI = """
# a comment
loner.example:2022

[ovens]
oven[01:03].example ansible_user=root  # of the hall
saw ansible_host=10.0.0.9 ansible_port=2200 edgewright_kind=rpi2

[hall:children]
ovens

[hall:vars]
ansible_user = ops
edgewright_site = hall
ansible_ssh_common_args = '-o ProxyJump=ops@198.51.100.7:2222'

[all:vars]
edgewright_kind = a53-som
edgewright_site = elsewhere
"""
YAML = """
all:
  vars: {edgewright_kind: a53-som, edgewright_site: elsewhere}
  hosts:
    loner.example: {ansible_port: 2022}
  children:
    hall:
      vars:
        ansible_user: ops
        edgewright_site: hall
        ansible_ssh_common_args: -J ops@198.51.100.7:2222
      children:
        ovens:
          hosts:
            oven[01:03].example: {ansible_user: root}
            saw: {ansible_host: 10.0.0.9, ansible_port: 2200, edgewright_kind: rpi2}
"""


def written(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def entries(text: str) -> dict[str, dict[str, dict[str, Any]]]:
    table = tomllib.loads(text)
    return {
        kind: {entry.pop("name"): entry for entry in table.get(kind, ())}
        for kind in ("sites", "gateways", "boards")
    }


def test_an_ssh_configuration(tmp_path: Path) -> None:
    hosts = from_ssh_config(written(tmp_path, "config", CONFIG))
    fleet = entries(fleet_text(hosts, site="hall", kind="a53-som"))

    assert fleet["gateways"] == {
        "gate": {"address": "ops@198.51.100.7:2222"},
        "203.0.113.9-22": {"address": "ops@203.0.113.9:22"},
        "inner": {"address": "inner", "jump": "203.0.113.9-22"},
    }
    of_hall = {"site": "hall", "kind": "a53-som"}
    assert fleet["boards"] == {
        "bastion": of_hall | {"address": "ops@198.51.100.7:2222"},
        "oven-1": of_hall | {"address": "root@10.0.0.7", "jump": "gate"},
        "oven-2": of_hall | {"address": "root@10.0.0.8", "jump": "gate"},
        "far": of_hall | {"address": "root@[fd00::7]", "jump": "inner"},
    }


def test_a_table(tmp_path: Path) -> None:
    hosts = from_csv(written(tmp_path, "hall.csv", TABLE))
    fleet = entries(fleet_text(hosts, site="yard", kind="rpi2"))

    assert fleet["boards"] == {
        "oven-1": {
            "site": "hall-a",
            "kind": "a53-som",
            "address": "root@10.0.0.7",
            "jump": "198.51.100.7-2222",
            "labels": {"line": "3", "canary": True},
        },
        "saw": {"site": "yard", "kind": "rpi2", "address": "saw.example:2200"},
        "drill": {"site": "yard", "kind": "rpi2", "address": "root@drill.example:23"},
        "six": {"site": "yard", "kind": "rpi2", "address": "[fd00::7]"},
    }
    assert [*fleet["sites"]] == ["hall-a", "yard"]


@pytest.mark.parametrize(("name", "text"), [("hosts.ini", INI), ("hosts.yml", YAML)])
def test_an_ansible_inventory(tmp_path: Path, name: str, text: str) -> None:
    hosts = from_ansible(written(tmp_path, name, text))
    fleet = entries(fleet_text(hosts))

    oven = {
        "site": "hall",
        "kind": "a53-som",
        "jump": "198.51.100.7-2222",
        "labels": {"hall": True, "ovens": True},
    }
    assert fleet["boards"] == {
        "loner.example": {
            "site": "elsewhere",
            "kind": "a53-som",
            "address": "loner.example:2022",
        },
        **{
            f"oven{n:02}.example": oven | {"address": f"root@oven{n:02}.example"} for n in (1, 2, 3)
        },
        "saw": oven | {"kind": "rpi2", "address": "ops@10.0.0.9:2200"},
    }


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("config", "Host a\n  HostName\n", "config: no SSH configuration"),
        ("config", "Match host a exec 'rm -rf /'\n", "config:1: 'Match exec' would run a command"),
        ("config", "Include other\n", "config:1: 'Include' is not followed"),
        (
            "config",
            "Host a\n ProxyCommand nc %h 22\n",
            "config:1: 'a' is reached by a ProxyCommand",
        ),
        ("a.csv", "name,user\na,b\n", "a.csv:1: no column 'address'"),
        ("a.csv", "name,address\na\nb,c,d\n,e\n", "a.csv: 3 lines cannot be used"),
        ("a.csv", "name,address,port\na,b,x\n", "a.csv:2: port 'x' is no number"),
        ("a.csv", "name,address\na,b c\n", "a.csv:2: address 'b c' is no user@addr[:port]"),
        ("a.csv", 'name,address\n"a,b\n', "a.csv: 1 lines cannot be used"),
        ("a.ini", "[a:vars]\nx\n", "a.ini:2: expected NAME=VALUE"),
        ("a.ini", "a b\n", "a.ini:1: expected NAME=VALUE, found 'b'"),
        ("a.ini", "a[1:x]\n", "a.ini:1: [1:x] is no range"),
        ("a.ini", "a[5:1]\n", "a.ini:1: the range [5:1] is empty"),
        ("a.ini", "a[1:99999999]\n", "beyond 100,000 hosts"),
        ("a.ini", "[a:children]\nb\n[b:children]\na\n", "its groups go in a circle: "),
        ("a.ini", "a ansible_host={{x}}\n", "a: ansible_host is a template"),
        ("a.ini", "a ansible_connection=winrm\n", "a: is reached by 'winrm', not by SSH"),
        ("a.ini", "a 'b\n", "a.ini:1: No closing quotation"),
        ("a.ini", "#!/bin/sh\n", "a.ini: is a program: it is not run"),
        ("a.yml", "a: [1]\n", "group 'a': expected a table"),
        ("a.yml", "a: {host: 1}\n", "group 'a': unknown key 'host'"),
        ("a.yml", "a: &a {children: {b: {children: {a: *a}}}}\n", "its groups go in a circle"),
        ("a.yml", "a: !!python/object:os.system {}\n", "a.yml: not YAML"),
        ("a.yml", "[" * 2000, "a.yml: not YAML"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = written(tmp_path, name, text)
    read = {"config": from_ssh_config, "a.csv": from_csv}.get(name, from_ansible)

    with pytest.raises(UserError) as refused:
        fleet_text(read(path))

    assert words in str(refused.value)


def test_a_short_file_does_not_mean_work_without_end(tmp_path: Path) -> None:
    levels = "".join(
        f"g{n}: &g{n} {{children: {{a{n}: *g{n - 1}, b{n}: *g{n - 1}}}}}\n" for n in range(1, 40)
    )

    with pytest.raises(UserError, match="name too many hosts, or some too often"):
        from_ansible(written(tmp_path, "a.yml", f"g0: &g0 {{hosts: {{x: }}}}\n{levels}"))


TEXT = st.text(alphabet=st.sampled_from("ab[1:9]=,;\"'{}*&! \n\t#-|>%@"), max_size=80)


@limits(max_examples=150, deadline=None)
@given(TEXT, st.sampled_from(["config", "a.csv", "a.ini", "a.yml"]))
def test_any_text_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, text: str, name: str
) -> None:
    path = written(tmp_path_factory.mktemp("source"), name, text)
    read = {"config": from_ssh_config, "a.csv": from_csv}.get(name, from_ansible)
    with suppress(UserError):
        tomllib.loads(fleet_text(read(path)))


HOSTS = st.builds(
    lambda name, address, jump, labels: ImportedHost(
        name=name, address=address, jump=jump, labels=labels
    ),
    st.text(min_size=1),
    st.text(min_size=1),
    st.none() | st.text(),
    st.dictionaries(st.text(), st.text()),
)


@given(st.lists(HOSTS, max_size=4), st.text(), st.text())
def test_what_is_written_is_toml_whatever_hosts_are_called(
    hosts: list[ImportedHost], site: str, kind: str
) -> None:
    text = fleet_text(hosts, site=site, kind=kind)

    assert len(tomllib.loads(text).get("boards", ())) <= len(hosts)
    with suppress(UserError):
        inventory.parse(text.encode(), Path("fleet.toml"), {"a53-som"})


def test_a_fleet_is_written_once_and_its_defects_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = written(tmp_path, "hall.csv", TABLE), tmp_path / "fleet.toml"
    command = ("fleet.import", f"--csv={table}", f"--out={out}")

    assert run(*command, "--site=yard") == ExitCode.USER
    message = capsys.readouterr().err
    assert f"{out}: written\n{out}: 3 defects\n" in message
    assert "board 'saw': kind: missing\n" in message

    assert run(*command) == ExitCode.USER
    assert "fleet.toml: is there already" in capsys.readouterr().err

    out.unlink()
    start(*command, "--site=yard", "--kind=rpi2")
    start("fleet.list", f"--fleet={out}", "--select=canary")
    assert "oven-1" in capsys.readouterr().out


def test_one_source_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fleet.import", "--csv=a", "--ansible=b") == ExitCode.USER

    assert "expected one of --ssh-config, --csv and --ansible" in capsys.readouterr().err


def test_a_group_of_many_levels_is_refused_in_words(tmp_path: Path) -> None:
    nested = "hosts:\n"
    for n in range(ansible.HOSTS // 1600):
        nested = f"children: {{g{n}: {{{nested.strip() if n else 'hosts: {x: }'}}}}}"

    with pytest.raises(UserError):
        from_ansible(written(tmp_path, "a.yml", f"top: {{{nested}}}"))
