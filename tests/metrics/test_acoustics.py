import numpy as np

from lungnb.metrics.acoustics import energy_below, kurtosis, tonal_share

RATE = 16000


def sounds():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.05, (4, 2 * RATE))
    clicks = 0.02 * noise
    for row in clicks:
        for at in rng.integers(400, 2 * RATE - 400, 8):
            row[at : at + 160] += np.sin(2 * np.pi * 500 * np.arange(160) / RATE) * np.exp(-np.arange(160) / 40)
    tone = 0.2 * noise + 0.3 * np.sin(2 * np.pi * 220 * np.arange(2 * RATE) / RATE)
    return noise, clicks, tone


def test_clicks_are_told_from_steady_noise_by_kurtosis():
    noise, clicks, _ = sounds()
    assert abs(kurtosis(noise, RATE)).max() < 0.5
    assert kurtosis(clicks, RATE).min() > 20


def test_a_tone_is_found_in_every_frame_and_noise_has_few():
    noise, _, tone = sounds()
    assert tonal_share(tone, RATE).min() > 0.95
    assert tonal_share(noise, RATE).max() < 0.1
    half = tone.copy()
    half[:, RATE:] = 4 * noise[:, RATE:]  # loud enough to count
    assert 0.4 < tonal_share(half, RATE).mean() < 0.6


def test_energy_below_a_frequency():
    time = np.arange(RATE) / RATE
    mixed = np.stack([np.sin(2 * np.pi * 200 * time) + np.sin(2 * np.pi * 900 * time), np.sin(2 * np.pi * 900 * time)])
    np.testing.assert_allclose(energy_below(mixed + 0.3, RATE), [0.5, 0.0], atol=1e-6)


def test_silence_has_no_number():
    silent = np.zeros((1, RATE))
    assert np.isnan([f(silent, RATE)[0] for f in (kurtosis, tonal_share, energy_below)]).all()
