"""Series are read as Label Studio's editor reads them; what it could not show is refused with what is wrong."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framewise.core.errors import MediaError
from framewise.core.series_time import SeriesTimes
from framewise.labeling_config import SeriesSettings
from framewise.media import series as reading
from framewise.media.series import read_series
from framewise.media.series_notes import SeriesFacts, series_notes

NAN = np.nan
PLAIN = SeriesSettings("time", "", False, ",", False, ("x", "y"))
DATES = replace(PLAIN, time_format="%Y-%m-%d %H:%M:%S.%L", is_date=True)
HEADER_AND_ROWS = "Time,X,Y\n5,1,10\n5.5,2,20\n6,3,30\n"


@pytest.fixture
def read(tmp_path):
    def read(text, settings=PLAIN):
        path = tmp_path / "series"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        found = read_series(path, settings)
        assert found.values.dtype == np.float32
        return found.native.tolist(), found.values.T.tolist()

    return read


def same(found, native, *columns):
    assert found[0] == native
    np.testing.assert_array_equal(found[1], columns)


def test_columns_are_found_by_their_names_without_case(read):
    same(read(HEADER_AND_ROWS), [5, 5.5, 6], [1, 2, 3], [10, 20, 30])
    same(read(HEADER_AND_ROWS, replace(PLAIN, time_column="TIME", channels=("Y", "x"))), [5, 5.5, 6], [10, 20, 30], [1, 2, 3])


def test_without_a_time_column_rows_are_counted(read):
    same(read(HEADER_AND_ROWS, replace(PLAIN, time_column="")), [0, 1, 2], [1, 2, 3], [10, 20, 30])


def test_columns_without_a_header_are_called_by_their_numbers(read):
    settings = replace(PLAIN, time_column="0", channels=("2",))
    same(read("5,1,10\n5.5,2,20\n6,3,30\n", settings), [5, 5.5, 6], [10, 20, 30])


def test_a_channel_may_be_a_number_where_there_are_names(read):
    same(read(HEADER_AND_ROWS, replace(PLAIN, channels=("2",))), [5, 5.5, 6], [10, 20, 30])


@pytest.mark.parametrize(
    ("sep", "separator"), [("\t", "\t"), (" ", " "), (";", ";"), ("", ";"), ("", "\t"), ("", " "), ("|", "|"), ("", ",")]
)
def test_separators(read, sep, separator):
    same(read(HEADER_AND_ROWS.replace(",", separator), replace(PLAIN, sep=sep)), [5, 5.5, 6], [1, 2, 3], [10, 20, 30])


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER_AND_ROWS,
        HEADER_AND_ROWS.replace("\n", "\r\n"),
        HEADER_AND_ROWS.rstrip("\n"),
        HEADER_AND_ROWS.replace("\n", "\n\n").replace("Y\n\n", "Y\n"),
        '"Time","X","Y"\n"5","1","10"\n5.5,2,20\n6,3,30\n',
        json.dumps({"Time": [5, 5.5, 6], "Y": [10, 20, 30], "X": [1, 2, 3], "z": "unused"}),
        "\ufeff" + json.dumps({"time": [5, 5.5, 6], "y": [10, 20, 30], "x": [1, 2, 3]}),
    ],
)
def test_files_as_programs_write_them(read, text):
    same(read(text), [5, 5.5, 6], [1, 2, 3], [10, 20, 30])


def test_bytes_that_are_no_utf8_are_read_as_the_browser_reads_them(read):
    header = "time,x°,y\n".encode("latin-1")
    same(read(header + b"5,1,10\n6,2,20\n", replace(PLAIN, channels=("x\ufffd",))), [5, 6], [1, 2])
    with pytest.raises(MediaError, match="has none of the columns .*; save it as UTF-8, as in iconv -f CP1252"):
        read(header + b"5,1,10\n6,2,20\n", replace(PLAIN, channels=("x°",)))
    same(read(b"time,x,y\n5,\xff1,10\n6,2,20\n"), [5, 6], [NAN, 2], [10, 20])
    same(read(b'{"time": [5, 6], "x": [1, 2], "y": [1, "\xff"]}'), [5, 6], [1, 2], [1, NAN])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("text", [HEADER_AND_ROWS, '{"time": [5, 6], "x": [1, 2], "y": [3, 4]}'])
def test_text_in_utf16_is_refused_with_the_cure(read, encoding, text):
    with pytest.raises(MediaError, match="the series is text in UTF-16, .*: save it as UTF-8, as in iconv -f UTF-16 -t UTF-8"):
        read(text.encode(encoding))


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"PK\3\4\x14\0", "a workbook or an archive"), (b"\x1f\x8b\x08\0", "compressed"), (b"PAR1\x15\4", "Parquet")],
)
def test_files_that_are_no_text_are_refused_as_what_they_are(read, content, what):
    with pytest.raises(MediaError, match=f"the series is {what}, and Label Studio reads text alone: save it as CSV"):
        read(content)


@pytest.mark.parametrize(("above", "rows"), [("# a sensor\n", "row 2,"), ("# a,b,c\n#\n", "row 3,"), ("\n\n\n", "row 4,")])
@pytest.mark.parametrize("sep", [",", ""])
def test_rows_above_the_names_are_refused_with_the_cure(read, above, rows, sep):
    with pytest.raises(MediaError, match=f"names of columns are in {rows} .*reads them in the first: remove .* above"):
        read(above + HEADER_AND_ROWS, replace(PLAIN, sep=sep))


def test_comments_above_values_are_refused_with_the_cure(read):
    with pytest.raises(MediaError, match="the values begin in row 3, below '# a', .*: remove the 2 rows above"):
        read("# a\n# b\n5,1,10\n6,2,20\n", replace(PLAIN, time_column="0", channels=("1", "2")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "time,x,y\ns,g,g\n5,1,10\n6,2,20\n",
            "no number in the second row, 's,g,g', .*: remove the second row if it holds units",
        ),
        (HEADER_AND_ROWS.replace("\n", "\r"), "end in carriage returns, .*: save the series with those"),
        ('\n{"time": [5, 6], "x": [1, 2], "y": [1, 2]}', r'expected JSON as {"time": \[0, 1\], .* from the first character on'),
        ('[{"time": 5, "x": 1, "y": 2}]\n', "expected JSON as"),
    ],
)
def test_other_first_rows_are_refused_as_what_they_are(read, text, message):
    with pytest.raises(MediaError, match=message):
        read(text)


def test_a_name_may_begin_as_a_comment(read):
    text = "# time,x,y\n5,1,10\n6,2,20\n"
    same(read(text, replace(PLAIN, time_column="# time")), [5, 6], [1, 2], [10, 20])
    same(read(text, replace(PLAIN, time_column="")), [0, 1], [1, 2], [10, 20])


def test_names_in_quotes_are_found_with_and_without_them(read):
    text = '"time","x","y"\n5,1,10\n6,2,20\n'
    same(read(text, replace(PLAIN, time_column='"time"', channels=('"X"', "y"))), [5, 6], [1, 2], [10, 20])


@pytest.mark.parametrize("words", [("TRUE", "FALSE"), ("true", "true"), ("True", "off")])
def test_words_in_a_channel_are_gaps(read, words):
    same(read(f"time,x,y\n5,{words[0]},10\n6,{words[1]},20\n"), [5, 6], [NAN, NAN], [10, 20])
    same(read(f"time,x,y\n5,{words[0]},10\n6,,20\n7,3,30\n"), [5, 6, 7], [NAN, NAN, 3], [10, 20, 30])


def test_booleans_of_json_are_numbers_as_in_the_editor(read):
    same(read('{"time": [5, 6], "x": [true, false], "y": [1, 2]}'), [5, 6], [1, 0], [1, 2])


def test_dates(read):
    text = "time,x,y\n2024-03-05 00:00:05.043,1,10\n2024-03-05 00:00:05.5,2,20\n"
    same(read(text, DATES), [1709596805043, 1709596805500], [1, 2], [10, 20])


@pytest.mark.parametrize("column", [[1709596805043, 1709596805500], ["1709596805043", "1709596805500"]])
def test_epoch_milliseconds(read, column):
    settings = replace(DATES, time_format="%Q")
    same(read(json.dumps({"time": column, "x": [1, 2], "y": [3, 4]}), settings), [1709596805043, 1709596805500], [1, 2], [3, 4])
    same(read(f"time,x,y\n{column[0]},1,3\n{column[1]},2,4\n", settings), [1709596805043, 1709596805500], [1, 2], [3, 4])


@pytest.mark.parametrize("cell", ["", "NaN", "nan", "null", "inf", "-Infinity", "1e999", "off"])
def test_what_is_no_number_in_a_channel_is_a_gap(read, cell):
    same(read(f"time,x,y\n5,1,10\n5.5,{cell},20\n6,3,30\n"), [5, 5.5, 6], [1, NAN, 3], [10, 20, 30])


@pytest.mark.parametrize("value", [None, "off", [1], {"a": 1}, 10**400, float("nan")])
def test_a_gap_in_json(read, value):
    same(read(json.dumps({"time": [5, 6], "x": [1, value], "y": [1, 2]})), [5, 6], [1, NAN], [1, 2])


@pytest.mark.parametrize(
    "text", ["time,x\n5,1\n6,2\n", "time,x,y\n5,1,\n6,2,off\n", '{"time": [5, 6], "x": [1, 2]}', "time,Y,x\n5,,1\n6,,2\n"]
)
def test_a_channel_that_is_missing_is_a_gap_throughout(read, text):
    same(read(text), [5, 6], [1, 2], [NAN, NAN])


def advised(ranges, spreads=(1.0, 1.0), rate=50.0, usual=(), usual_rate=None):
    times = SeriesTimes(np.arange(3) / rate)
    return about(SeriesFacts.of(times, np.array(ranges, dtype=float), spreads), PLAIN, usual, usual_rate)


def about(facts, *more):
    """Notes on facts as they come back from the database."""
    kept = SeriesFacts.from_json(json.loads(json.dumps(facts.to_json())))
    return [note.about("a.csv") for note in series_notes(kept, *more)]


def of_times(times, settings):
    return about(SeriesFacts.of(times, np.array([(0, 1), (0, 1)], dtype=float), (1.0, 1.0)), settings)


def test_channels_that_say_nothing_are_told_of():
    assert advised([(0, 1), (-1, 1)]) == []
    (missing,) = advised([(0, 1), (NAN, NAN)])
    assert missing.startswith("a.csv: channel 'y' has no numbers in this series. Predictions for it rely on the other channels")
    (constant,) = advised([(0, 0), (-1, 1)])
    assert constant.startswith("a.csv: channel 'x' has one value throughout, treated as not measured (0)")
    assert advised([(0, 0), (1, 1)]) == []  # a recording in which nothing happens


def test_another_unit_or_rate_than_in_the_annotated_series_is_told_of():
    usual = [(0, 1), (-1, 1)], (2.0, 1.0)
    assert advised(*usual, usual=(0.5, 4.0), usual_rate=74.0) == []
    assert advised(*usual, usual=(None, 1.0)) == []
    (unit,) = advised(*usual, usual=(0.2, 1.0))
    assert unit == "a.csv: channel 'x' spreads unlike the annotated series (10 times as far). Is it in another unit?"
    (rate,) = advised(*usual, usual=(2.0, 1.0), usual_rate=100.0)
    assert rate.startswith(
        "a.csv: another sampling rate than the annotated series, which have 100 samples a second (50 samples a second)"
    )


def test_two_samples_at_one_time_are_read_and_told_of(read):
    same(read("time,x,y\n5,1,10\n5,2,20\n6,3,30\n"), [5, 5, 6], [1, 2, 3], [10, 20, 30])
    (note,) = of_times(SeriesTimes(np.array([5.0, 5, 6])), PLAIN)
    assert "samples have the time of the one before (1 of 3 samples)" in note


def test_what_is_likely_not_meant_is_told():
    (note,) = of_times(SeriesTimes(np.array([1709596805043.0, 1709596805500.0])), PLAIN)
    assert "the times look like milliseconds since 1970 (they begin at 1709596805043" in note
    assert 'Label Studio takes numbers as seconds. Set timeFormat="%Q"' in note
    (note,) = of_times(SeriesTimes(np.arange(3.0), whole=True), replace(PLAIN, time_column=""))
    assert "Label Studio takes each row as a second" in note
    assert not of_times(SeriesTimes(np.arange(3.0)), PLAIN)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("", PLAIN, "at least two rows, found none"),
        ("\n\n", PLAIN, "at least two rows, found none"),
        ("time,x,y", PLAIN, "at least two rows, found 'time,x,y'"),
        ("time,x,y\n5,1,2\n", PLAIN, "at least two samples, found 1"),
        ("time,x,y\n5,1,2\n,2,3\n", PLAIN, "'time': expected times a number; .* found nan in sample 2"),
        (
            "time,x,y\n5,1,2\nNaN,2,3\n",
            PLAIN,
            "expected times a number; for dates, set timeFormat on the tag; found nan in sample 2",
        ),
        (
            "time,x,y\n2024-01-01,1,2\n2024-01-02,2,3\n",
            PLAIN,
            "for dates, set timeFormat on the tag; found '2024-01-01' in sample 1",
        ),
        ("time,x,y\n2024-01-01,1,2\n2024-01-02,2,3\n", DATES, "in the timeFormat '%Y-.*L'; found '2024-01-01' in sample 1"),
        ("time,x,y\n1,1,2\n3,2,3\n2,2,3\n", PLAIN, "times that never go back; sample 3 lies before the one before it; sort"),
        ("time,x,y\n1,1,2\n1,2,3\n", PLAIN, "all 2 samples have the same time; is timeFormat too coarse"),
        ("t,x,y\n1,1,2\n2,2,3\n", PLAIN, "no column 'time', which timeColumn names; it has"),
        ("time,a\n1,1\n2,2\n", PLAIN, r"none of the columns \['x', 'y'\], which the Channel tags name; it has \['time', 'a'\]"),
        ("time,x,x,y\n1,1,1,1\n2,2,2,2\n", PLAIN, r"several columns with the same name: \['x'\]"),
        ("time,x,y\n1,,\n2,,off\n", PLAIN, r"no number in the columns of channels \['x', 'y'\]"),
        ("time;x;y\n1;1;1\n2;2;2\n", PLAIN, "separator ',' is not in the first row, 'time;x;y'; set sep"),
        ("time,x,y\n1,1,1,5\n2,2,2,5\n", PLAIN, "first row has 3 columns and the second 4"),
        ("time,x,y\n1,1,1\n2,2,2\n3,3,3,3\n", PLAIN, "sample 3 has more cells than the 3 columns"),
        ("time,x,y\n1,1,1\n2,2,2\n3,3,3,3,3\n", PLAIN, "could not be read: .*line 4, saw 5"),
        ("time,x,y\n1;2,1,1\n2,2,2\n", replace(PLAIN, sep=""), "found several"),
        ("time\n1\n2\n", replace(PLAIN, sep="", channels=("0",)), "found none, in '1'"),
        ('time,x,y\n1,1,"1\n2,2,2\n', PLAIN, "could not be read|no number|two samples"),
        ('{"time": [1, 2], "x": [1, 2], "y": [1]}', PLAIN, "different lengths: 'x' has 2 values and 'y' has 1"),
        ('{"time": [1, 2, 3], "x": [1, 2], "y": [1, 2]}', PLAIN, "different lengths: 'x' has 2 values and 'time' has 3"),
        ('{"time": [1, 2], "x": 5, "y": [1]}', PLAIN, "column 'x': expected a list of numbers, found 5"),
        ('{"time": [1, 2], "x": [1, 2]', PLAIN, "begins with '{' but is not valid JSON"),
        ('{"time": [true, false], "x": [1, 2], "y": [1, 2]}', PLAIN, "found True in sample 1"),
        ('{"time": [[1], 2], "x": [1, 2], "y": [1, 2]}', DATES, r"found \[1\] in sample 1"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", PLAIN, "at least two rows"),
        ('{"a":' * 100_000, PLAIN, "is not valid JSON"),
        ("1," * 20_000 + "\n" + "1," * 20_000, PLAIN, "at most 10000 columns, found 20001"),
    ],
)
def test_what_cannot_be_read_is_refused(read, text, settings, message):
    with pytest.raises(MediaError, match=message):
        read(text, settings)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=150,
)
@given(st.text(alphabet='time,x;y\n\t "0123.-e{}[]:naif\r', max_size=60), st.booleans(), st.sampled_from([",", ";", ""]))
def test_whatever_is_in_a_file_it_is_read_or_refused(read, text, headed, sep):
    try:
        native, values = read("time,x,y\n" * headed + text, replace(PLAIN, sep=sep))
    except MediaError:
        return
    assert len(native) == len(values[0]) == len(values[1]) >= 2
    assert native == sorted(native)


def test_rows_are_read_in_parts(read, monkeypatch):
    monkeypatch.setattr(reading, "CELLS_AT_ONCE", 2 * 3)
    rows = [f"{k},{k},{k if k % 3 else 'off'}" for k in range(7)]
    same(read("time,x,y\n" + "\n".join(rows)), list(range(7)), list(range(7)), [NAN, 1, 2, NAN, 4, 5, NAN])
    with pytest.raises(MediaError, match="found 'soon' in sample 6"):
        read("time,x,y\n" + "\n".join([*rows[:5], "soon,1,1"]))


def test_a_series_without_end_is_refused(read, monkeypatch):
    monkeypatch.setattr(reading, "MAX_SAMPLES", 2)
    with pytest.raises(MediaError, match="expected at most 2 samples, found more"):
        read(HEADER_AND_ROWS)


MILLION = """
import resource, sys
from pathlib import Path
from framewise.labeling_config import SeriesSettings
from framewise.media.series import read_series
import pandas  # what is imported counts for nothing

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak()
series = read_series(Path(sys.argv[1]), SeriesSettings("time", "", False, ",", False, ("x", "y", "z")))
print(len(series.native), series.native[-1], peak() - before)
"""


def test_a_million_rows_are_read_in_little_memory(tmp_path):
    """Three channels and the times are 20 MB; the file, as texts in a table, would be some 400."""
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write("time,x,y,z\n")
        for second in range(10_000):
            file.writelines(f"{second}.{hundredth:02d},0.125,-1.5,9.81\n" for hundredth in range(100))
    run = subprocess.run([sys.executable, "-c", MILLION, str(path)], capture_output=True, text=True, check=True, timeout=600)
    rows, last, grown = run.stdout.split()
    assert (int(rows), float(last)) == (1_000_000, 9999.99)
    assert int(grown) < 300e6
