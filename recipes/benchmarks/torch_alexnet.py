"""The one-column AlexNet in PyTorch, where it is installed: what the benchmark and a test compare with."""


def torch_alexnet(width, outputs):
    """The one-column AlexNet in PyTorch: names and order of its weights are those of torchvision's."""
    from torch import nn

    one, two, three, four, five = (max(2, 2 * round(count * width / 2)) for count in (64, 192, 384, 256, 256))
    units = max(2, 2 * round(2048 * width))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, one, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
                nn.Conv2d(one, two, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
                nn.Conv2d(two, three, 3, padding=1), nn.ReLU(inplace=True),
                nn.Conv2d(three, four, 3, padding=1), nn.ReLU(inplace=True),
                nn.Conv2d(four, five, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            )  # fmt: skip
            self.avgpool = nn.AdaptiveAvgPool2d(6)
            self.classifier = nn.Sequential(
                nn.Dropout(0.5), nn.Linear(36 * five, units), nn.ReLU(inplace=True),
                nn.Dropout(0.5), nn.Linear(units, units), nn.ReLU(inplace=True), nn.Linear(units, outputs),
            )  # fmt: skip

        def forward(self, x):
            return self.classifier(self.avgpool(self.features(x)).flatten(1))

    return Network()


def torch_works(width, x, y):
    """(one step of training, one photo) of the same network in PyTorch."""
    import torch
    from torch import nn

    network = torch_alexnet(width, y.shape[1])
    optimizer = torch.optim.SGD(network.parameters(), 0.001, momentum=0.9)
    images, targets = torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(y)
    one = images[:1].clone()

    def step():
        network.train()
        optimizer.zero_grad()
        nn.functional.mse_loss(network(images), targets).backward()
        optimizer.step()

    def photo():
        network.eval()
        with torch.no_grad():
            network(one)

    return step, photo
