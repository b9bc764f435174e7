"""A release measured on a board whose program, sensors and clock a test makes."""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import CheckError, TargetError, UserError
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.remote import ConnectionLostError, Result
from edgewright.deploy.report import Verdict
from edgewright.deploy.smoke import Subject
from edgewright.observe.bench.conditions import Gauge, Reading, power_of, reading_of
from edgewright.observe.bench.measure import Bench, DirectRelease, Plan, compare, plateau
from edgewright.observe.bench.report import BoardBench, Label, Process, require_good
from edgewright.observe.board_files import READ, parse_files
from edgewright.release.manifest import Release
from tests.boards import BENCH, CASES, THERMAL, StandIn, make_release
from tests.schemas import require_valid

CPU = "sys/devices/system/cpu/cpu0/cpufreq"
ZONE = "sys/class/thermal/thermal_zone0"
COOLING = "sys/class/thermal/cooling_device0"
POWER = "sys/class/hwmon/hwmon0"
SYSTEM = {
    "proc/loadavg": "1.25 1 1 1/9 9",
    "proc/sys/kernel/osrelease": "6.6.51",
    "proc/sys/kernel/random/boot_id": "5f1c",
}
SENSORS = {
    f"{CPU}/scaling_governor": "performance",
    f"{CPU}/scaling_cur_freq": "1400000",
    f"{CPU}/scaling_max_freq": "1400000",
    f"{CPU}/cpuinfo_max_freq": "1400000",
    f"{ZONE}/type": "soc",
    f"{ZONE}/temp": "51000",
    f"{ZONE}/trip_point_0_type": "passive",
    f"{ZONE}/trip_point_0_temp": "80000",
    f"{COOLING}/type": "thermal-cpufreq-0",
    f"{COOLING}/cur_state": "0",
    f"{POWER}/name": "ina226",
    f"{POWER}/power1_input": "2500000",
}
PLAN = Plan(processes=5, runs=80, warmup=4)


class BenchBoard(StandIn):
    """Each run of `edge-infer` hands its release to `times`, and may change what sensors say."""

    def __init__(
        self,
        files: dict[str, str],
        times: Callable[["BenchBoard", str, int], float] = lambda board, release, n: 20.0,
        *,
        emulated: bool = False,
    ) -> None:
        super().__init__(emulated=emulated)
        self.files, self._times = dict(files), times
        self.processes = 0
        self.usual_ms = 20.0
        self.tells_postprocessing = True
        self.thermal: dict[str, Any] | None = None

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        if argv[0] == "cat":
            return self._answer(argv, json.dumps({"schema": 1, "tolerance": 0.01, "cases": CASES}))
        if argv[:2] == ["sh", "-c"]:
            assert argv[2] == READ
            shown = [
                f"{path} {text}"
                for path, text in self.files.items()
                if any(fnmatchcase(path, pattern) for pattern in argv[5:])
            ]
            return self._answer(argv, "\n".join(shown))
        if argv[1] == "bench":
            return self._answer(argv, json.dumps(BENCH))
        return self._answer(argv, json.dumps(self._run(argv)))

    def _run(self, argv: Sequence[str]) -> dict[str, Any]:
        release = argv[0].split("/")[-3]
        images = [word for word in argv[2:] if word.endswith(".png")]
        threads = int(argv[argv.index("--threads") + 1]) if "--threads" in argv else 2
        results = []
        is_first_look = len(images) == 2  # how long an inference takes
        self.processes += not is_first_look
        for n in range(len(images)):
            inference = self.usual_ms
            if not is_first_look:
                inference = 95.0 if n == 0 else self._times(self, release, n)
            ms = {"decode": 1.5, "preprocess": 0.5, "inference": inference}
            if self.tells_postprocessing:
                ms["postprocess"] = 0.25
            results.append({"image": images[n], "class": "ok", "index": 0, "ms": ms})
        answer = {"version": 1, "command": "run", "model": "small", "load_ms": 31.5}
        return answer | {"threads": threads, "results": results, "thermal": self.thermal}

    def _answer(self, argv: Sequence[str], text: str) -> Result:
        return Result(argv=tuple(argv), returncode=0, stdout=text, stderr="")


@pytest.fixture
def releases(tmp_path: Path) -> tuple[Release, Release]:
    own = make_release(tmp_path / "own", root="/opt/edgewright", model=b"one")
    return own, make_release(tmp_path / "other", root="/opt/edgewright", model=b"other")


def subject(board: BenchBoard, release: Release) -> Subject:
    edgectl = Edgectl(board=board, root="/opt/edgewright")
    direct = DirectRelease(edgectl=edgectl, release=release.id, right="--holder=test")
    return Subject(release=direct, manifest=release.manifest)


def bench_of(board: BenchBoard, release: Release, plan: Plan = PLAN, **more: Any) -> Bench:
    return Bench(subject=subject(board, release), plan=plan, gauge=Gauge(board=board), **more)


def test_figures_are_given_as_far_as_the_runs_support_them(
    releases: tuple[Release, Release],
) -> None:
    board = BenchBoard(SYSTEM | SENSORS, lambda board, release, n: 20.0 + n % 10)

    report = bench_of(board, releases[0]).run()

    require_valid("bench.board", report.to_json())
    (latency,) = report.latency
    assert (latency.label, latency.processes, latency.ms.runs) == (Label.MEASURED, 5, 400)
    assert (latency.ms.min.value, latency.ms.median.value) == (20.0, 24.5)
    assert latency.ms.p99.value is not None
    assert latency.ms.p99_9.value is None
    assert latency.ms.p99_9.reason == "400 runs; it needs 3,688"
    # The first inference is no part of the others, nor is the rest of the warm-up.
    assert report.first_inference_ms.median == 95.0
    assert [len(process.inference_ms) for process in report.processes] == [80] * 5
    assert {stage.name: stage.median_ms for stage in report.stages} == {
        "decode": 1.5,
        "preprocess": 0.5,
        "inference": 24.5,
        "postprocess": 0.25,
    }
    assert report.load_ms.median == 31.5
    assert report.peak_rss_kb == 30000
    assert (report.kernel, report.boot_id, report.governor) == ("6.6.51", "5f1c", "performance")
    reading = report.processes[0].start
    assert (reading.mhz, reading.temperature_c, reading.cooling_state) == (1400, 51.0, 0)
    assert reading.load == 1.25
    assert {check.name: check.verdict for check in report.budgets} == {
        "peak memory": Verdict.PASSED,
        "latency, measured": Verdict.PASSED,
    }
    require_good(report)


def test_a_stage_that_an_older_release_does_not_tell_is_null_and_says_why(
    releases: tuple[Release, Release],
) -> None:
    board = BenchBoard(SYSTEM | SENSORS)
    board.tells_postprocessing = False

    stage = bench_of(board, releases[0]).run().stages[-1]

    assert (stage.name, stage.median_ms) == ("postprocess", None)
    assert stage.reason == "this release's edge-infer does not tell"


@pytest.mark.parametrize(
    ("least", "label"), [(1.0, "measured"), (0.55, "throttled")], ids=["cool", "paced"]
)
def test_times_of_a_program_that_paces_itself_are_labelled(
    releases: tuple[Release, Release], least: float, label: str
) -> None:
    board = BenchBoard(SYSTEM | SENSORS)
    board.thermal = THERMAL | {"effort": least, "least_effort": least}

    process = bench_of(board, releases[0]).run().processes[0]

    assert process.label == label
    assert [sign.partition(":")[0] for sign in process.throttled] == (
        ["paced by edge-infer"] if least < 1 else []
    )


def test_times_of_a_throttled_board_are_labelled_and_in_no_other_s_figures(
    releases: tuple[Release, Release],
) -> None:
    def times(board: BenchBoard, release: str, n: int) -> float:
        if board.processes == 3:
            board.files[f"{COOLING}/cur_state"] = "2"
        return 60.0 if board.processes >= 3 else 20.0

    report = bench_of(BenchBoard(SYSTEM | SENSORS, times), releases[0]).run()

    measured, throttled = report.latency
    assert (measured.label, measured.processes, measured.ms.median.value) == ("measured", 2, 20.0)
    assert (throttled.label, throttled.processes, throttled.ms.median.value) == (
        "throttled",
        3,
        60.0,
    )
    assert report.processes[2].throttled == ("thermal-cpufreq-0: state 2",)
    assert report.stages[2].median_ms == 20.0


@pytest.mark.parametrize(
    ("changed", "sign"),
    [
        ({f"{CPU}/scaling_max_freq": "600000"}, "clock capped at 600 of 1400 MHz"),
        ({f"{ZONE}/temp": "81000"}, "soc at 81.0 °C, its trip point is 80 °C"),
        (
            {"sys/devices/platform/soc/soc:firmware/get_throttled": "0x4"},
            "firmware: throttled",
        ),
    ],
)
def test_every_sign_of_throttling_counts(
    changed: dict[str, str], sign: str, releases: tuple[Release, Release]
) -> None:
    board = BenchBoard(SYSTEM | SENSORS | changed)

    report = bench_of(board, releases[0], Plan(processes=1, runs=6, warmup=1)).run()

    assert report.processes[0].throttled == (sign,)
    assert [latency.label for latency in report.latency] == [Label.THROTTLED]


def test_under_voltage_between_two_readings_is_noticed(
    releases: tuple[Release, Release],
) -> None:
    firmware = "sys/devices/platform/soc/soc:firmware/get_throttled"

    def times(board: BenchBoard, release: str, n: int) -> float:
        board.files[firmware] = "10000"
        return 20.0

    board = BenchBoard(SYSTEM | {firmware: "0"}, times)
    report = bench_of(board, releases[0], Plan(processes=1, runs=6, warmup=1)).run()

    assert report.processes[0].throttled == ("firmware, meanwhile: under-voltage",)


def test_a_board_without_sensors_is_not_measured_and_never_zero(
    releases: tuple[Release, Release],
) -> None:
    board = BenchBoard(SYSTEM)
    assert Gauge(board=board).has_sensors() is False

    report = bench_of(board, releases[0]).run()

    reading = report.processes[0].end
    assert (reading.mhz, reading.temperature_c, reading.cooling_state) == (None, None, None)
    assert (reading.power, report.power, report.governor) == ((), (), None)
    assert [latency.label for latency in report.latency] == [Label.MEASURED]


def test_power_is_sampled_while_a_process_runs(releases: tuple[Release, Release]) -> None:
    def times(board: BenchBoard, release: str, n: int) -> float:
        board.files[f"{POWER}/power1_input"] = "4000000" if n % 2 else "3000000"
        time.sleep(0.02)
        return 20.0

    board = BenchBoard(SYSTEM | SENSORS, times)
    bench = bench_of(board, releases[0], Plan(processes=1, runs=10, warmup=1), second=board)
    bench.gauge.interval_s = 0.01

    (power,) = bench.run().power

    assert power.sensor == "ina226 power1"
    assert power.samples >= 3
    assert 3.0 <= power.mean_w <= power.peak_w == 4.0
    assert power.mj_per_inference == pytest.approx(power.mean_w * 20.0)


def test_power_is_of_the_release_alone(releases: tuple[Release, Release]) -> None:
    own, other = releases

    def times(board: BenchBoard, release: str, n: int) -> float:
        is_own = release == own.id and board.processes <= 2
        board.files[f"{POWER}/power1_input"] = "3000000" if is_own else "9000000"
        time.sleep(0.02)
        return 20.0

    board = BenchBoard(SYSTEM | SENSORS | {f"{POWER}/power1_input": "3000000"}, times)
    plan = Plan(processes=1, runs=10, warmup=1, threads=(4,))
    bench = bench_of(board, own, plan, second=board, against=subject(board, other))
    bench.gauge.interval_s = 0.01

    (power,) = bench.run().power

    assert power.peak_w == 3.0


def test_sensors_are_read_below_another_folder_by_the_board_s_own_shell(tmp_path: Path) -> None:
    class LocalStandIn(StandIn):
        def answer(self, argv: Sequence[str], data: bytes) -> Result:
            ended = subprocess.run(argv, capture_output=True, text=True, check=False)
            return Result(
                argv=tuple(argv), returncode=ended.returncode, stdout=ended.stdout, stderr=""
            )

    for path, text in (SENSORS | {f"{POWER}/power2_input": "junk"}).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{text}\n")

    reading = Gauge(board=LocalStandIn(), tree=str(tmp_path)).read()

    assert [(power.sensor, power.watts) for power in reading.power] == [("ina226 power1", 2.5)]
    assert reading.temperature_c == 51.0
    assert reading.load is not None  # of the real /proc


NVME = {
    "sys/class/hwmon/hwmon1/name": "nvme",
    "sys/class/hwmon/hwmon1/temp1_input": "36850",
    "sys/class/hwmon/hwmon1/temp1_label": "Composite",
}
OF_ZONE = {"sys/class/hwmon/hwmon2/name": "soc", "sys/class/hwmon/hwmon2/temp1_input": "52000"}


@pytest.mark.parametrize(
    ("files", "celsius"),
    [
        (NVME, 36.85),
        (SENSORS | NVME, 51.0),  # the hottest zone is the processor's
        (NVME | {"sys/class/hwmon/hwmon1/temp1_input": "999999"}, None),
        (NVME | OF_ZONE, 52.0),
    ],
)
def test_a_board_without_zones_has_the_temperature_of_its_chips(
    files: dict[str, str], celsius: float | None
) -> None:
    lines = "\n".join(f"{path} {text}" for path, text in files.items())

    assert reading_of(parse_files(lines), 0.0).temperature_c == celsius


def pair_times(ratio: float) -> Callable[[BenchBoard, str, int], float]:
    """One release takes `ratio` times as long as the other; processes differ by 1 %."""

    def times(board: BenchBoard, release: str, n: int) -> float:
        is_first = board.processes % 2 == 1
        return 20.0 * (ratio if is_first else 1.0) * (1 + (board.processes // 2 % 3) / 100)

    return times


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.2, "regression"), (1.0, "within"), (0.8, "within")]
)
def test_two_releases_take_turns_and_a_regression_ends_with_4(
    ratio: float, verdict: str, releases: tuple[Release, Release]
) -> None:
    own, other = releases
    board = BenchBoard(SYSTEM | SENSORS, pair_times(ratio))
    plan = Plan(processes=8, runs=20, warmup=1)

    report = bench_of(board, own, plan, against=subject(board, other)).run()

    comparison = report.comparison
    assert comparison is not None
    assert (comparison.against, comparison.pairs, comparison.left_out) == (other.id, 8, 0)
    assert comparison.verdict == verdict
    assert comparison.ratio == pytest.approx(ratio, abs=0.02)
    require_valid("bench.board", report.to_json())
    if verdict == "within":
        require_good(report)
        return
    with pytest.raises(CheckError, match="the measurement says no") as refused:
        require_good(report)
    assert f"against {other.id}: slower: +1" in str(refused.value)


def a_process(ms: float, label: Label = Label.MEASURED) -> Process:
    reading = reading_of(parse_files(""), 0.0)
    return Process(
        release="0" * 16,
        threads=1,
        label=label,
        throttled=(),
        load_ms=1,
        first_inference_ms=1,
        inference_ms=(ms,),
        decode_ms=1,
        preprocess_ms=1,
        postprocess_ms=1,
        median_ms=ms,
        start=reading,
        end=reading,
    )


def test_pairs_with_a_throttled_process_are_left_out_and_said() -> None:
    own = [a_process(20 + n / 10) for n in range(8)]
    others = [
        a_process(20 + n / 10, Label.THROTTLED if n < 3 else Label.MEASURED) for n in range(8)
    ]

    comparison = compare(own, others, "1" * 16, 0.05)

    assert (comparison.left_out, comparison.ratio, comparison.verdict) == (3, None, "undecided")
    assert comparison.reason == "5 pairs that were not throttled; it needs 6"


def test_a_difference_that_may_be_chance_is_no_regression() -> None:
    own = [a_process(ms) for ms in (20, 22, 19, 25, 18, 24, 20, 23)]
    others = [a_process(20) for _ in range(8)]

    assert compare(own, others, "1" * 16, 0.05).verdict == "undecided"


def test_an_emulator_s_times_are_labelled_and_judge_nothing(
    releases: tuple[Release, Release],
) -> None:
    own, other = releases
    board = BenchBoard(SYSTEM | SENSORS, pair_times(3.0), emulated=True)
    plan = Plan(processes=6, runs=6, warmup=1)

    report = bench_of(board, own, plan, against=subject(board, other)).run()

    assert [latency.label for latency in report.latency] == [Label.EMULATED]
    latency = next(check for check in report.budgets if check.name == "latency, emulated")
    assert latency.verdict is Verdict.NOT_JUDGED
    assert report.comparison is not None
    assert report.comparison.verdict == "not judged"
    require_good(report)


def test_a_budget_that_is_not_met_is_a_refusal(releases: tuple[Release, Release]) -> None:
    report = bench_of(BenchBoard(SYSTEM, lambda *_: 130.0), releases[0]).run()

    with pytest.raises(CheckError) as refused:
        require_good(report)
    assert "latency, measured: expected median at most 100 ms, found median 130.0 ms" in str(
        refused.value
    )


def test_a_board_that_starts_anew_meanwhile_is_noticed(
    releases: tuple[Release, Release],
) -> None:
    def times(board: BenchBoard, release: str, n: int) -> float:
        board.files["proc/sys/kernel/random/boot_id"] = "77aa"
        return 20.0

    with pytest.raises(TargetError, match="was started anew in the middle"):
        bench_of(BenchBoard(SYSTEM, times), releases[0]).run()


def test_more_runs_than_a_command_line_holds_are_refused(
    releases: tuple[Release, Release],
) -> None:
    with pytest.raises(UserError, match="more than a command line to the board can name"):
        bench_of(BenchBoard(SYSTEM), releases[0], Plan(processes=1, runs=500, warmup=1)).run()


@pytest.mark.parametrize(
    ("usual_ms", "thermal", "runs", "processes"),
    [
        (20.0, None, 80, 5),
        (20.0, THERMAL, 80, 5),
        (5_000.0, None, 80, 5),  # 420 s
        (20_000.0, None, 34, 12),  # 39 images of 20 s, four of them warm-up
        (1_500.0, THERMAL, 47, 9),  # of a governor an inference may take ten times as long
        (200_000.0, THERMAL, 1, 400),
    ],
)
def test_processes_of_a_slow_board_come_to_their_end_in_time(
    usual_ms: float,
    thermal: dict[str, Any] | None,
    runs: int,
    processes: int,
    releases: tuple[Release, Release],
) -> None:
    board = BenchBoard(SYSTEM | SENSORS)
    board.usual_ms, board.thermal = usual_ms, thermal

    report = bench_of(board, releases[0]).run()

    assert len(report.processes) == processes
    assert {len(process.inference_ms) for process in report.processes} == {runs}
    assert report.latency[0].ms.runs >= 400  # as planned


def test_with_fewer_threads_a_process_infers_fewer(releases: tuple[Release, Release]) -> None:
    board = BenchBoard(SYSTEM | SENSORS)
    board.usual_ms = 6_000.0  # on two threads: 84 images in 504 s, on one in 1,008
    last: dict[int, int] = {}

    def times(board: BenchBoard, release: str, n: int) -> float:
        last[board.processes] = n
        return 20.0

    board._times = times
    plan = Plan(processes=1, runs=80, warmup=4, threads=(1, 2))

    bench_of(board, releases[0], plan).run()

    assert last == {1: 83, 2: 63, 3: 83}


def test_throughput_is_measured_for_each_number_of_threads(
    releases: tuple[Release, Release],
) -> None:
    plan = Plan(processes=1, runs=10, warmup=1, threads=(1, 4))

    report = bench_of(BenchBoard(SYSTEM | SENSORS), releases[0], plan).run()

    assert [(t.threads, t.per_second, t.label) for t in report.throughput] == [
        (1, 50.0, "measured"),
        (4, 50.0, "measured"),
    ]


def reading_at(at_s: float, celsius: float | None) -> Reading:
    return reading_of(parse_files(""), at_s).model_copy(update={"temperature_c": celsius})


@pytest.mark.parametrize(
    ("temperatures", "at_s"),
    [
        ([50, 60, 66, 68, 68.5, 68.9, 68.8, 68.7], 90),
        ([50, 60, 66, 70, 74, 78, 82, 86], None),
        ([50.0] * 3, None),  # too short
        ([None] * 8, None),
        ([68, 68, None, 68, 68, 68], None),  # a sensor that fell silent
    ],
)
def test_a_plateau_is_where_the_heat_stays(
    temperatures: list[float | None], at_s: float | None
) -> None:
    readings = [reading_at(30.0 * n, celsius) for n, celsius in enumerate(temperatures)]

    level = plateau(readings)

    assert (level.at_s if level else None) == at_s


def soaked(releases: tuple[Release, Release], rise_c: int) -> BoardBench:
    """Each process takes 30 s and heats the board, up to 70 °C."""
    clock = [0.0]

    def times(board: BenchBoard, release: str, n: int) -> float:
        if n == 1:
            clock[0] += 30
            hotter = int(board.files[f"{ZONE}/temp"]) + 1000 * rise_c
            board.files[f"{ZONE}/temp"] = str(min(hotter, 70_000))
        return 20.0

    board = BenchBoard(SYSTEM | SENSORS, times)
    plan = Plan(processes=1, runs=6, warmup=1, soak_s=600)
    bench = bench_of(board, releases[0], plan, clock=lambda: clock[0])
    bench.gauge = Gauge(board=board, clock=lambda: clock[0])
    return bench.run()


def test_a_soak_goes_on_to_the_plateau_and_says_when(releases: tuple[Release, Release]) -> None:
    soak = soaked(releases, 5).soak

    assert soak is not None
    assert (soak.plateau_c, soak.reason) == (70.0, None)
    assert soak.plateau_after_s == 90
    assert soak.seconds == 210
    assert [latency.label for latency in soak.latency] == [Label.MEASURED]


def test_a_soak_without_a_plateau_says_so(releases: tuple[Release, Release]) -> None:
    soak = soaked(releases, 1).soak

    assert soak is not None
    assert (soak.plateau_after_s, soak.plateau_c) == (None, None)
    assert (soak.seconds, soak.reason) == (600, "not reached within the time")


def test_a_soak_of_a_slow_network_ends_in_its_time(releases: tuple[Release, Release]) -> None:
    """A process of a bench would take 13 images: 780 s, in a soak of 600."""
    clock = [0.0]

    def times(board: BenchBoard, release: str, n: int) -> float:
        clock[0] += 60
        return 60_000.0

    board = BenchBoard(SYSTEM | SENSORS, times)
    board.usual_ms = 60_000.0
    plan = Plan(processes=1, runs=30, warmup=2, soak_s=600)  # two images are a first look
    soak = bench_of(board, releases[0], plan, clock=lambda: clock[0]).run().soak

    assert soak is not None
    assert 480 <= soak.seconds <= 660  # a process has one inference that counts, in any case


def test_a_soak_whose_line_is_cut_ends_with_what_it_has_and_says_so(
    releases: tuple[Release, Release],
) -> None:
    def times(board: BenchBoard, release: str, n: int) -> float:
        if board.processes > 4:
            raise ConnectionLostError("board.test", "connection lost")
        return 20.0

    plan = Plan(processes=1, runs=6, warmup=1, soak_s=600)
    report = bench_of(BenchBoard(SYSTEM | SENSORS, times), releases[0], plan).run()

    assert report.soak is not None
    assert report.soak.cut == "connection lost"
    assert [(each.processes, each.label) for each in report.soak.latency] == [(3, "measured")]
    require_valid("bench.board", report.to_json())
    with pytest.raises(TargetError, match="the soak ended after 0 s: connection lost"):
        require_good(report)


@pytest.mark.parametrize("ms", [0.0, -1.0, -1e308, 5e-324, 1e308])
def test_times_that_cannot_be_are_refused(ms: float, releases: tuple[Release, Release]) -> None:
    with pytest.raises(TargetError, match="did not tell the time of each image"):
        bench_of(BenchBoard(SYSTEM, lambda *_: ms), releases[0]).run()


def test_a_program_that_tells_no_times_is_refused(releases: tuple[Release, Release]) -> None:
    class Silent(BenchBoard):
        def _run(self, argv: Sequence[str]) -> dict[str, Any]:
            return super()._run(argv) | {"results": []}

    with pytest.raises(TargetError, match="did not tell the time of each image"):
        bench_of(Silent(SYSTEM), releases[0]).run()


def test_readings_without_power_have_no_figure_of_it() -> None:
    assert power_of([reading_at(0, 50.0)], 20.0) == ()
