"""Images, sounds and videos: tiny networks whose output is known, files made here, and files that are none."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from pasand.encoders import Encoder, UnreadableInput
from pasand.encoders.audio import AudioOnnx
from pasand.encoders.image import ImageOnnx
from pasand.encoders.sound import log_mel, mel_bands, samples
from pasand.encoders.video import VideoOnnx
from pasand.errors import InputError
from pasand.types import Array
from tests.encoders.graphs import mean_band, mean_colour

pytest.importorskip("onnx")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    mean_colour(folder / "image.onnx")
    mean_colour(folder / "last.onnx", channels_first=False)
    mean_band(folder / "audio.onnx")
    return folder


def write_wave(path: Path, values: Array, rate: int = 8000, channels: int = 1) -> str:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((values * 32767).astype("<i2").tobytes())
    return str(path)


def tone(hertz: float, seconds: float = 1.0, rate: int = 8000) -> Array:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate) / 2


@pytest.mark.parametrize("name", ["image.onnx", "last.onnx"])
def test_images_are_read_in_both_orders_of_axes(models: Path, tmp_path: Path, name: str) -> None:
    colours = {"RGB": (255, 0, 255), "L": 128, "RGBA": (0, 0, 0, 0), "P": 0, "CMYK": (0, 255, 255, 0)}
    paths = []
    for mode, colour in colours.items():
        path = tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}"
        Image.new(mode, (40, 20), colour).save(path)
        paths.append(str(path))
    vectors = ImageOnnx(model=str(models / name)).encode(paths)
    third, half = 1 / np.sqrt(3), 1 / np.sqrt(2)
    np.testing.assert_allclose(vectors[:3], [[half, 0, half], [third] * 3, [third] * 3], atol=1e-6)
    np.testing.assert_allclose(vectors[4], [1, 0, 0], atol=0.02)


def test_the_middle_square_is_read(models: Path, tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 100), (0, 0, 255))
    image.paste((255, 0, 0), (100, 0, 200, 100))
    image.save(tmp_path / "wide.png")
    vectors = ImageOnnx(model=str(models / "image.onnx")).encode([str(tmp_path / "wide.png")])
    np.testing.assert_allclose(vectors, [[1, 0, 0]], atol=0.03)


def test_images_that_cannot_be_read(models: Path, tmp_path: Path) -> None:
    encoder = ImageOnnx(model=str(models / "image.onnx"))
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    assert encoder.encode([str(tmp_path / "large.png")]).shape == (1, 3)
    Image.new("1", (13_000, 10_000)).save(tmp_path / "larger.png")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "torn.png").write_bytes((tmp_path / "large.png").read_bytes()[:500])
    (tmp_path / "empty.png").touch()
    causes = {
        "larger.png": "it has 13,000 x 10,000 pixels, and at most 128,000,000 are read",
        "text.jpg": "it is not an image that can be read",
        "torn.png": "it is not an image that can be read",
        "empty.png": "it is not an image that can be read",
        "none.png": "there is no such file",
    }
    for name, cause in causes.items():
        with pytest.raises(UnreadableInput, match=cause):
            encoder.encode([str(tmp_path / name)])


def test_models_of_another_kind_are_refused(models: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    sound = write_wave(tmp_path / "a.wav", tone(440))
    with pytest.raises(InputError, match="not images"):
        ImageOnnx(model=str(models / "audio.onnx")).encode([str(tmp_path / "a.png")])
    with pytest.raises(InputError, match="not spectrograms"):
        AudioOnnx(model=str(models / "image.onnx")).encode([sound])
    with pytest.raises(InputError, match="it is no ONNX model"):
        ImageOnnx(model=str(tmp_path / "a.png")).encode([str(tmp_path / "a.png")])


def test_a_tone_is_loudest_in_its_band() -> None:
    for hertz in (300, 1000, 3000):
        spectrum = log_mel(tone(hertz).astype(np.float32), rate=8000, window=512, hop=256, mels=40)
        centre = mel_bands(8000, 512, 40).argmax(axis=1) * 8000 / 512
        assert abs(centre[spectrum.mean(axis=0).argmax()] - hertz) < 0.1 * hertz + 8000 / 512
    assert spectrum.shape == (1 + 8000 // 256, 40)


def test_mel_bands_have_equal_area() -> None:
    """A band that is not clipped integrates to 2 / 2 = 1 over frequency (Slaney)."""
    area = mel_bands(16_000, 4096, 40).sum(axis=1) * 16_000 / 4096
    np.testing.assert_allclose(area, 1, atol=0.03)


def test_sounds_of_many_forms_agree(models: Path, tmp_path: Path) -> None:
    encoder = AudioOnnx(model=str(models / "audio.onnx"))
    mono = write_wave(tmp_path / "mono.wav", tone(440))
    stereo = write_wave(tmp_path / "stereo.wav", np.repeat(tone(440), 2), channels=2)
    faster = write_wave(tmp_path / "faster.wav", tone(440, rate=32_000), rate=32_000)
    other = write_wave(tmp_path / "other.wav", tone(1760))
    vectors = encoder.encode([mono, stereo, faster, other])
    cosine = vectors @ vectors[0]
    assert cosine[1] > 0.9999
    assert cosine[2] > 0.999
    assert cosine[3] < 0.9
    short = encoder.encode([write_wave(tmp_path / "short.wav", tone(440, 0.05))])
    assert (short @ vectors[0]).item() > 0.9
    assert encoder.encode([]).shape == (0, 16)


def test_sounds_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="its length is 0 seconds"):
        samples(write_wave(tmp_path / "zero.wav", np.zeros(0)), 8000)
    (tmp_path / "torn.wav").write_bytes((tmp_path / "zero.wav").read_bytes()[:20])
    with pytest.raises(UnreadableInput, match="not a WAV file that can be read"):
        samples(str(tmp_path / "torn.wav"), 8000)
    with pytest.raises(UnreadableInput, match="there is no such file"):
        samples(str(tmp_path / "none.wav"), 8000)
    (tmp_path / "text.mp3").write_text("no sound")
    with pytest.raises(UnreadableInput, match=r"not a sound that can be read|pip install"):
        samples(str(tmp_path / "text.mp3"), 8000)


def test_an_animation_is_the_mean_and_the_maximum_of_its_frames(models: Path, tmp_path: Path) -> None:
    """Two frames, red and blue: mean (1, 0, 1) / sqrt 2, maximum the same, and no sound."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    (tmp_path / "folder").mkdir()
    for at, frame in enumerate(frames):
        frame.save(tmp_path / "folder" / f"{at}.png")
    encoder = VideoOnnx(image=str(models / "image.onnx"), audio=str(models / "audio.onnx"))
    vectors = encoder.encode([str(tmp_path / "a.gif"), str(tmp_path / "folder")])
    np.testing.assert_allclose(vectors[0], [0.5, 0, 0.5, 0.5, 0, 0.5, *[0] * 16], atol=0.01)
    np.testing.assert_allclose(vectors[1], vectors[0], atol=0.02)
    assert encoder.encode([]).shape == (0, 22)
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    with pytest.raises(UnreadableInput, match="not an image"):
        encoder.encode([str(tmp_path / "b.gif")])


def test_a_film_has_frames_and_a_sound(models: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        video = out.add_stream("mpeg4", rate=10)
        video.width = video.height = 32
        audio = out.add_stream("aac", rate=8000)
        for at in range(20):
            frame = av.VideoFrame.from_image(Image.new("RGB", (32, 32), (255, 0, 0) if at < 10 else (0, 0, 255)))
            out.mux(video.encode(frame))
        sound = av.AudioFrame.from_ndarray(tone(440, 2).astype(np.float32)[None], format="fltp", layout="mono")
        sound.sample_rate = 8000
        out.mux(audio.encode(sound))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    encoder = VideoOnnx(image=str(models / "image.onnx"), audio=str(models / "audio.onnx"))
    vector = encoder.encode([str(tmp_path / "a.mp4")])[0]
    assert vector[6:].any()
    np.testing.assert_allclose(vector[:3] / np.linalg.norm(vector[:3]), [0.707, 0, 0.707], atol=0.1)
    wav = AudioOnnx(model=str(models / "audio.onnx")).encode([write_wave(tmp_path / "a.wav", tone(440, 2))])[0]
    assert vector[6:] @ wav / np.linalg.norm(vector[6:]) > 0.95
    (tmp_path / "b.mp4").write_bytes(b"no film")
    with pytest.raises(UnreadableInput, match="not a video that can be read"):
        encoder.encode([str(tmp_path / "b.mp4")])


def test_the_contract(models: Path) -> None:
    image, audio = str(models / "image.onnx"), str(models / "audio.onnx")
    encoders: list[Encoder] = [ImageOnnx(model=image), AudioOnnx(model=audio), VideoOnnx(image=image, audio=audio)]
    for encoder in encoders:
        assert isinstance(encoder, Encoder)
        assert encoder.reads_files
        assert encoder.state() == {}
    assert len({encoder.fingerprint() for encoder in encoders}) == 3
