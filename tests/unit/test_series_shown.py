"""Advice on series that the editor does not show as they are; a test in the browser asks the editor about such files."""

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framewise.core.errors import MediaError
from framewise.labeling_config import SeriesSettings
from framewise.media.series import read_series
from framewise.media.series_shown import shown_problem

PLAIN = SeriesSettings("time", "", False, ",", False, ("x", "y"))
DATES = replace(PLAIN, time_format="%Y-%m-%d %H:%M:%S.%f%Z", is_date=True)
JSON = '{"time": [5, 6], "x": [1, 2], "y": [3, 4]}'


@pytest.fixture
def advise(tmp_path):
    def advise(text, settings=PLAIN):
        path = tmp_path / "series"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        read_series(path, settings)
        return shown_problem(path, settings)

    return advise


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("time,x,y\n5,1,10\n6,2,20\n", PLAIN),
        ("\ufefftime,x,y\r\n5,1,10\r\n\r\n6,2,20", PLAIN),
        ("5,1,10\n6,2,20\n", replace(PLAIN, time_column="0", channels=("1", "2"))),
        ("time,x,y\n5,1,\n6,,2\n,,3\n".replace("\n,", "\n7,"), PLAIN),
        (JSON, PLAIN),
        ("time,a,y\n5,1,10\n6,2,20\n", PLAIN),  # told as a channel without numbers
    ],
)
def test_nothing_is_told_of_a_series_that_is_shown(advise, text, settings):
    assert advise(text, settings) is None


@pytest.mark.parametrize("text", ["time,x,y\n5,1,10\n6,2,20\n", JSON])
def test_a_channel_by_its_columns_number_is_advised_to_be_named(advise, text):
    why, cure = advise(text, replace(PLAIN, channels=("x", "2")))
    assert why.startswith("it finds the column 'y' by the number 2 in some loads only")
    assert cure == 'Write column="y" into the Channel tag'


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("x,y,time\n,,5\n,,6\n1,2,7\n", PLAIN, "of the empty cells at an end of sample 1 it loses one, .*; put columns that"),
        ("time,x,y\n5,1,2\n6,1\n7,1,2\n", PLAIN, "sample 2 has 2 cells and not 3; give each row as many cells as the first"),
        ('"time","x","y"\n"5","1","2"\n"6","1","2"\n', PLAIN, "its cells are in quotes, .*; write the file without quotes"),
        ('"time","x","y"\n5,1,2\n6,1,2\n', PLAIN, "'time' is '\"time\"' there; write the file without quotes"),
        ('time,x,y\n5,1,2\n6,"1",2\n', PLAIN, "the number \"1\" of column 'x' in sample 2 is in quotes"),
        ("time, x,y\n5,1,2\n6,1,2\n", PLAIN, "it looks for the column 'x' and finds ' x'; write the names without blanks"),
        ("time,x,y\n0,1,2\n0,1,2\n1,1,2\n", PLAIN, "two of its first three times are 0"),
        (
            "time,x,y\n2024-04-11 12:25:00.487929+00:00,1,2\n2024-04-11 12:25:01.487929+00:00,1,2\n",
            DATES,
            r"the time '2024-04-11 12:25:00.487929\+00:00' cannot be read there with timeFormat .*; write times as 2024-03",
        ),
        (
            'time,x,y\n"2024-03-05",1,2\n"2024-03-06",1,2\n',
            replace(DATES, time_format="%Y-%m-%d"),
            'the time "2024-03-05" is in quotes, .*; write the file without quotes',
        ),
        (JSON.replace("[1,", "[NaN,"), PLAIN, "NaN is no JSON; write null in its place"),
        (JSON.replace("time", "Time"), PLAIN, "it looks for 'time' in JSON and finds 'Time'; write the names in lower case"),
        (JSON.replace("[3, 4]", "[3, 4], \"id\": 7"), replace(PLAIN, time_column=""), "the rows of any column, as of 'id'"),
    ],
)  # fmt: skip
def test_what_is_not_shown_is_told_with_one_cure(advise, text, settings, said):
    why, cure = advise(text, settings)
    advice = f"{why}; {cure[0].lower()}{cure[1:]}"
    assert re.search(said, advice), advice
    assert not set("<>") & set(advice)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=200,
)
@given(
    st.text(alphabet='time,x;y\n\t "0123.-e{}[]:naif\r|^\\', max_size=60),
    st.booleans(),
    st.sampled_from([",", ";", "", "|", "^", "\\", "*"]),
    st.sampled_from(["", "%Y", "%S.%f", "%L.%f", '"%Q"']),
)
def test_advice_fails_on_no_series_that_is_read(advise, text, headed, sep, time_format):
    separator = sep or ";"
    rows = separator.join(["time", "x", "y"]) + "\n" + "".join(separator.join([k, k, "1"]) + "\n" for k in "12") * headed
    try:
        found = advise(rows + text, replace(PLAIN, sep=sep, time_format=time_format, is_date=bool(time_format)))
    except MediaError:
        return
    assert found is None or all(found)
