"""Download, resume, checksums and unpacking, against a server of our own on this machine."""

import errno
import hashlib
import http.server
import io
import stat
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import requests

from lungnb.core import UserError
from lungnb.data import DATASETS, Source
from lungnb.data import download as download_module
from lungnb.data.corpus import SIMULATED_MARKER
from lungnb.data.download import CHUNK, ResumingDownloader, download, fetch, unpack
from lungnb.data.icbhi import read_icbhi

PAYLOAD = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(PAYLOAD).hexdigest()


class Server:
    """Serves `files`, by path. What goes wrong is set by the test."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.ranges = True  # whether Range requests are answered
        self.lengths = True  # whether the length is announced
        self.break_after: list[int] = []  # bytes after which the next answers break off
        self.status: list[int] = []  # errors that the next answers are
        self.requests: list[tuple[str, str | None]] = []


@pytest.fixture
def server(monkeypatch):
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range")
            state.requests.append((self.path, wanted))
            body = state.files.get(self.path)
            if state.status or body is None:
                self.send_error(state.status.pop(0) if state.status else 404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if start and start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            if state.lengths:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = start + state.break_after.pop(0) if state.break_after else len(body)
            self.wfile.write(body[start:end])

    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download_module.time, "sleep", lambda seconds: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{web.server_port}"
        yield state
        web.shutdown()
        thread.join()


def get(server, folder, checksum=None, name="data.bin", **kwargs):
    return download(name, [f"{server.url}/{name}"], checksum, folder, say=kwargs.get("say", lambda text: None))


# --- download -----------------------------------------------------------------------------------------------------


def test_first_download_records_its_checksum_and_the_next_has_to_match(server, tmp_path):
    server.files["/data.bin"] = PAYLOAD
    said = []
    file = get(server, tmp_path, say=said.append)
    assert file.read_bytes() == PAYLOAD
    assert (tmp_path / "data.bin.sha256").read_text() == f"{SHA}  data.bin\n"
    assert "recorded" in said[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.bin", "data.bin.sha256"]
    file.unlink()
    server.files["/data.bin"] = PAYLOAD[:-1] + b"!"
    with pytest.raises(UserError, match=r"does not match its checksum.*removed.*data\.bin\.sha256"):
        get(server, tmp_path)
    assert not file.exists()


def test_a_file_that_is_there_is_checked_and_not_downloaded(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(PAYLOAD)
    assert get(server, tmp_path, f"sha256:{SHA}").exists()
    assert server.requests == []
    (tmp_path / "data.bin").write_bytes(b"other")
    with pytest.raises(UserError, match="remove it to download it again"):
        get(server, tmp_path, f"sha256:{SHA}")
    assert (tmp_path / "data.bin").read_bytes() == b"other"  # the user's file is not ours to delete


def test_the_users_checksum_goes_first(server, tmp_path):
    server.files["/data.bin"] = PAYLOAD
    (tmp_path / "data.bin.sha256").write_text(SHA.upper())
    assert get(server, tmp_path, "md5:" + "0" * 32).exists()


def test_a_checksum_file_that_is_none(server, tmp_path):
    (tmp_path / "data.bin.sha256").write_text("todo\n")
    with pytest.raises(UserError, match=r"data\.bin\.sha256, line 1"):
        get(server, tmp_path)


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.files["/data.bin"] = PAYLOAD
    server.break_after = [3 * CHUNK, 2 * CHUNK + 100]  # of a cut chunk nothing is kept
    assert get(server, tmp_path, f"sha256:{SHA}").read_bytes() == PAYLOAD
    assert [r for _, r in server.requests] == [None, f"bytes={3 * CHUNK}-", f"bytes={5 * CHUNK}-"]


def test_a_part_of_an_earlier_call_is_used(server, tmp_path):
    server.files["/data.bin"] = PAYLOAD
    server.break_after = [7 * CHUNK, 0, 0, 0, 0, 0]
    with pytest.raises(
        UserError, match=rf"{7 * CHUNK:,} bytes are kept in .*data\.bin\.part; run the same command again"
    ):
        get(server, tmp_path)
    assert (tmp_path / "data.bin.part").read_bytes() == PAYLOAD[: 7 * CHUNK]
    server.break_after, server.requests = [], []
    assert get(server, tmp_path).read_bytes() == PAYLOAD
    assert server.requests == [("/data.bin", f"bytes={7 * CHUNK}-")]
    assert not (tmp_path / "data.bin.part").exists()


def test_a_complete_part_is_taken(server, tmp_path):
    server.files["/data.bin"] = PAYLOAD
    (tmp_path / "data.bin.part").write_bytes(PAYLOAD)
    assert get(server, tmp_path).read_bytes() == PAYLOAD
    assert len(server.requests) == 1


def test_an_answer_that_ends_early_without_an_error_is_seen(tmp_path, monkeypatch):
    """As older versions of the HTTP library let it pass."""

    answer = MagicMock(status_code=200, headers={"Content-Length": "100"})
    answer.__enter__.return_value = answer
    answer.iter_content.return_value = [b"x" * 60]
    monkeypatch.setattr(download_module.requests, "get", lambda url, **kwargs: answer)
    with pytest.raises(requests.ConnectionError, match="60 of 100 bytes"):
        ResumingDownloader(tmp_path / "data.bin.part", tries=1)("http://nowhere", str(tmp_path / "data.bin"), None)
    assert not (tmp_path / "data.bin").exists()


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    server.files["/data.bin"] = PAYLOAD
    (tmp_path / "data.bin.part").write_bytes(PAYLOAD + b"more")
    assert get(server, tmp_path).read_bytes() == PAYLOAD


@pytest.mark.parametrize("lengths", [True, False])
def test_a_server_without_ranges_starts_over(server, tmp_path, lengths):
    server.files["/data.bin"] = PAYLOAD
    server.ranges, server.lengths = False, lengths
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    assert get(server, tmp_path).read_bytes() == PAYLOAD


def test_errors_of_the_server(server, tmp_path):
    server.files["/data.bin"] = PAYLOAD
    server.status = [503, 500]
    assert get(server, tmp_path).exists()  # tried again
    (tmp_path / "data.bin").unlink()
    server.status, server.requests = [404], []
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*status 404.*nothing is kept.*yourself"):
        get(server, tmp_path)
    assert len(server.requests) == 1  # a refusal is not tried again


def test_the_mirror_goes_on_with_the_part(server, tmp_path):
    server.files["/mirror.bin"] = PAYLOAD
    (tmp_path / "data.bin.part").write_bytes(PAYLOAD[:1000])
    urls = [f"{server.url}/gone.bin", f"{server.url}/mirror.bin"]
    assert download("data.bin", urls, f"sha256:{SHA}", tmp_path).read_bytes() == PAYLOAD
    assert server.requests[-1] == ("/mirror.bin", "bytes=1000-")


@pytest.mark.parametrize("first", ["dead", "other bytes", "breaks off", "bad certificate"])
def test_the_second_address_helps_where_the_first_does_not(server, tmp_path, monkeypatch, first):
    server.files = {"/a.bin": PAYLOAD[::-1] if first == "other bytes" else PAYLOAD, "/b.bin": PAYLOAD}
    urls = [f"{server.url}/a.bin", f"{server.url}/b.bin"]
    if first == "dead":
        urls[0] = "http://127.0.0.1:9/a.bin"
    if first == "breaks off":
        server.break_after = [2 * CHUNK, 0, 0, 0, 0]
    if first == "bad certificate":
        urls[0], get = "https://expired.example/a.bin", requests.get

        def expired(url, **kwargs):
            assert kwargs.get("verify", True) is True
            if url.startswith("https"):
                raise requests.exceptions.SSLError("certificate has expired")
            return get(url, **kwargs)

        monkeypatch.setattr(download_module.requests, "get", expired)
    assert download("data.bin", urls, f"sha256:{SHA}", tmp_path).read_bytes() == PAYLOAD
    assert server.requests[-1] == ("/b.bin", f"bytes={2 * CHUNK}-" if first == "breaks off" else None)


def test_a_page_in_place_of_an_archive_is_not_recorded(server, tmp_path):
    server.files = {"/a.zip": b"<html>come back later</html>"}
    with pytest.raises(UserError, match=r"a\.zip could not be downloaded.*nothing is kept"):
        get(server, tmp_path, name="a.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_lists_what_from_where_how_large_and_asks_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(download_module.requests, "get", None)
    said = []
    fetch("icbhi", tmp_path, said.append, dry_run=True)
    fetch("sprsound", tmp_path, said.append, dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert [text.partition(" -> ")[0] for text in said][-2:] == ["ICBHI_final_database.zip", "SPRSound.zip"]
    first = said[4].splitlines()
    assert first[0].endswith("icbhi/audio_and_txt_files (about 1.9 GB)")
    assert [line.split("/")[2] for line in first[1:3]] == ["dataverse.harvard.edu", "bhichallenge.med.auth.gr"]
    assert first[3] == "  verified by md5:f6a5d0ea40bbcd25e17754f9d5ddae48"
    assert "(27,249 bytes)" in said[0]
    assert "size not stated" in said[5]
    part = tmp_path / "icbhi" / "downloads" / "ICBHI_final_database.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    (tmp_path / "icbhi" / "demographic_info.txt").write_text("101 3 F")
    fetch("icbhi", tmp_path, said.append, dry_run=True)
    assert "1,000 bytes are here" in said[-1]
    assert "is there already" in said[-3]


def test_no_network(server, tmp_path):
    with pytest.raises(UserError, match=r"no connection.*run the same command again to go on"):
        download("data.bin", ["http://127.0.0.1:9/data.bin"], None, tmp_path)


# --- unpack -------------------------------------------------------------------------------------------------------


def make_zip(path: Path, members: dict[str, bytes], modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            file.writestr(info, content)
    return path


def make_tar(path: Path, members: dict[str, bytes], kinds: dict[str, bytes] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), (kinds or {}).get(name, tarfile.REGTYPE)
            info.linkname = "/etc/passwd" if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            file.addfile(info, io.BytesIO(content))
    return path


def tree(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_unpack_takes_one_folder_of_an_archive(make, tmp_path):
    archive = make(tmp_path / "a.archive", {"top/a/1.txt": b"1", "top/a/b/2.txt": b"2", "else/3.txt": b"3"})
    unpack(archive, tmp_path / "out" / "here", "top/a")
    assert tree(tmp_path / "out") == {"here/1.txt", "here/b/2.txt"}
    assert (tmp_path / "out/here").stat().st_mode & 0o055  # as readable as any folder of the user


def test_unpack_takes_parts_only(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"top/one/1.txt": b"1", "top/LICENSE": b"l", "top/two/2.txt": b"2"})
    unpack(archive, tmp_path / "out", "top", ("one", "LICENSE", "README"))
    assert tree(tmp_path / "out") == {"one/1.txt", "LICENSE"}


@pytest.mark.parametrize(
    "name", ["../evil.txt", "top/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:\\evil.txt", "\\evil.txt"]
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_no_member_leaves_the_folder(make, name, tmp_path):
    archive = make(tmp_path / "a.archive", {"top/good.txt": b"good", name: b"evil"})
    before = tree(tmp_path)
    with pytest.raises(UserError, match="outside its folder") as caught:
        unpack(archive, tmp_path / "out" / "here", "top")
    assert "evil.txt" in str(caught.value)
    assert tree(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.archive"]


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_of_a_zip_are_refused(mode, tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"top/odd": b"/etc/passwd"}, {"top/odd": mode | 0o777})
    with pytest.raises(UserError, match="'top/odd' is a link or a device"):
        unpack(archive, tmp_path / "out", "top")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_a_tar_are_refused(kind, tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", {"top/odd": b""}, {"top/odd": kind})
    with pytest.raises(UserError, match="'top/odd' is a link or a device"):
        unpack(archive, tmp_path / "out", "top")


def test_a_damaged_archive_leaves_nothing_half_done(tmp_path):
    content = bytes(i * 7919 % 251 for i in range(5000))
    archive = make_zip(tmp_path / "a.zip", {"top/1.bin": content, "top/2.bin": content})
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"a\.zip is damaged.*remove it"):
        unpack(archive, tmp_path / "out", "top")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    archive.write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match="neither a zip nor a tar"):
        unpack(archive, tmp_path / "out", "top")


def test_an_archive_without_the_expected_folder(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"renamed/1.txt": b"1"})
    with pytest.raises(UserError, match="holds no files in top/"):
        unpack(archive, tmp_path / "out", "top")


# --- whole data sets ----------------------------------------------------------------------------------------------


@pytest.fixture
def icbhi(server, monkeypatch, tmp_path):
    """A database of one silent recording on the server, and the official sources pointed at it."""
    import numpy as np
    import soundfile

    name = "101_1b1_Al_sc_Meditron"
    wav = io.BytesIO()
    soundfile.write(wav, np.zeros(8000), 4000, format="WAV")
    inside = {f"ICBHI_final_database/{name}.wav": wav.getvalue()}
    inside[f"ICBHI_final_database/{name}.txt"] = b"0.0\t1.5\t0\t0\n"
    make_zip(tmp_path / "source.zip", inside)
    server.files = {
        "/ICBHI_challenge_train_test.txt": f"{name}\ttest\n".encode(),
        "/ICBHI_Challenge_diagnosis.txt": b"101\tURTI\r\n",  # as the site has them: tabs, DOS line ends
        "/ICBHI_Challenge_demographic_information.txt": b"101 3 F NA 19 99\r\n",
        "/patient_list_foldwise.txt": b"101 4\n",
        "/ICBHI_final_database.zip": (tmp_path / "source.zip").read_bytes(),
    }
    local = [
        Source(f"{server.url}/{s.name}", s.target, archive_folder=s.archive_folder, parts=s.parts)
        for s in DATASETS["icbhi"].sources
    ]
    monkeypatch.setitem(DATASETS, "icbhi", replace(DATASETS["icbhi"], sources=tuple(local)))
    return tmp_path / "data"


def test_fetch_lays_icbhi_out_as_the_reader_expects(server, icbhi):
    said = []
    root = fetch("icbhi", icbhi, say=said.append)
    assert root == icbhi / "icbhi"
    corpus = read_icbhi(root)
    assert corpus.origin == "real"
    event = corpus.events.iloc[0]
    assert (event["diagnosis"], event["sex"], event["split"], event["end_s"]) == ("URTI", "female", "test", 1.5)
    assert (root / "patient_list_foldwise.txt").exists()
    server.requests.clear()
    fetch("icbhi", icbhi, say=said.append)
    assert server.requests == []  # nothing is fetched twice
    assert said[-1].endswith("is there already.")


def test_fetch_again_fetches_what_is_missing(server, icbhi):
    kept = server.files.pop("/ICBHI_final_database.zip")
    with pytest.raises(UserError, match=r"ICBHI_final_database\.zip could not be downloaded"):
        fetch("icbhi", icbhi, say=lambda text: None)
    server.files["/ICBHI_final_database.zip"] = kept
    server.requests.clear()
    fetch("icbhi", icbhi, say=lambda text: None)
    assert [path for path, _ in server.requests] == ["/ICBHI_final_database.zip"]


def test_fetch_unpacks_sprsound(server, monkeypatch, tmp_path):
    source = DATASETS["sprsound"].sources[0]
    top = source.archive_folder
    members = {f"{top}/BioCAS2022/train2022_wav/1.wav": b"w", f"{top}/LICENSE": b"GPL", f"{top}/BioCAS2023/2.wav": b"w"}
    server.files["/zip"] = make_zip(tmp_path / "s.zip", members).read_bytes()
    local = Source(f"{server.url}/zip", source.target, top, source.parts, file_name=source.file_name)
    monkeypatch.setitem(DATASETS, "sprsound", replace(DATASETS["sprsound"], sources=(local,)))
    root = fetch("sprsound", tmp_path / "data", say=lambda text: None)
    assert {"BioCAS2022/train2022_wav/1.wav", "LICENSE", "downloads/SPRSound.zip"} <= tree(root)
    assert not (root / "BioCAS2023").exists()


def test_sources_are_public_and_end_below_the_folder():
    for name, dataset in DATASETS.items():
        for source in dataset.sources:
            assert all(url.startswith("https://") for url in (source.url, *source.mirrors))
            assert ".." not in source.target
            assert not source.mirrors or source.checksum  # a mirror needs a proof that it is one
            assert source.urls[-1] == source.url
            assert name != "icbhi" or source.mirrors  # the publisher's site is not to be relied on


def test_unknown_and_simulated_data_sets(tmp_path):
    with pytest.raises(UserError, match="icbhi, sprsound"):
        fetch("nobody", tmp_path)
    (tmp_path / "icbhi").mkdir()
    (tmp_path / "icbhi" / SIMULATED_MARKER).write_text("{}")
    with pytest.raises(UserError, match="simulated recordings"):
        fetch("icbhi", tmp_path)


def test_full_disk_while_downloading(server, icbhi, monkeypatch):
    """The part that fitted is kept, and the download goes on when there is room."""
    real_open, archive = Path.open, server.files["/ICBHI_final_database.zip"]

    def refuse(data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def open_on_a_small_disk(self, mode="r", *args, **kwargs):
        if self.name != "ICBHI_final_database.zip.part":
            return real_open(self, mode, *args, **kwargs)
        handle = real_open(self, mode, buffering=0)  # of a raw file `write` can be replaced
        handle.write(archive[:50])
        handle.write = refuse
        return handle

    monkeypatch.setattr(Path, "open", open_on_a_small_disk)
    with pytest.raises(UserError, match=r"icbhi could not be written \(No space .*; what was finished before is kept"):
        fetch("icbhi", icbhi, say=lambda text: None)
    monkeypatch.setattr(Path, "open", real_open)
    assert (icbhi / "icbhi/downloads/ICBHI_final_database.zip.part").read_bytes() == archive[:50]
    fetch("icbhi", icbhi, say=lambda text: None)
    assert server.requests[-1] == ("/ICBHI_final_database.zip", "bytes=50-")


def test_too_little_room_is_seen_before_anything_is_written(icbhi, monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(UserError, match=r"could not be written \(No space"):
        fetch("icbhi", icbhi, say=lambda text: None)
    archive = make_zip(tmp_path / "a.zip", {"top/1.txt": b"more than ten bytes"})
    with pytest.raises(OSError, match="No space"):
        unpack(archive, tmp_path / "out", "top")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(icbhi):
    icbhi.mkdir()
    (icbhi / "icbhi").write_text("a file")
    with pytest.raises(UserError, match="could not be written"):
        fetch("icbhi", icbhi)
