from tests.benchmarks.frontier import draw, points

ROWS = {
    "targets": [
        {"run": "tutorial", "epoch_s": [10.0, 20.0]},
        {"run": "98.75", "test_acc": 99.0, "train_s": 4.0},
        {"run": "98.75", "test_acc": 98.8, "train_s": 6.0},
        {"run": "99.5", "test_acc": 99.5, "train_s": 60.0},
        {"run": "99.6", "test_acc": 99.6, "train_s": 1000.0},
    ],
    "peers": [{"peer": "train_mnist_fast", "test_acc": 99.1, "train_s": 20.0}],
}


def test_a_point_is_the_mean_time_and_the_accuracies_of_a_recipe():
    assert [tuple(point) for point in points(ROWS.__getitem__)] == [
        ("the tutorial", 750.0, [98.75], False),
        ("fast.yaml", 5.0, [99.0, 98.8], True),
        ("default.yaml", 60.0, [99.5], True),
        ("record.yaml", 1000.0, [99.6], True),
        ("train_mnist_fast", 20.0, [99.1], False),
    ]


def test_every_point_is_in_the_picture_the_more_accurate_the_higher():
    figure = draw(points(ROWS.__getitem__))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    labels = {text.get_text().split("\n")[0]: text for text in axes.texts}
    assert labels.keys() == {"the tutorial", "fast.yaml", "default.yaml", "record.yaml", "train_mnist_fast"}
    heights = {name: axes.transData.transform(text.xy)[1] for name, text in labels.items()}
    assert sorted(heights, key=heights.__getitem__) == [
        *("the tutorial", "fast.yaml", "train_mnist_fast", "default.yaml", "record.yaml")
    ]
    low, high = axes.bbox.intervaly
    assert all(low < height < high for height in heights.values())
