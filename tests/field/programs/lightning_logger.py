import os

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import MLFlowLogger


class Line(LightningModule):
    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"width": 1})
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, number):
        loss = (self.layer(batch[0]) ** 2).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(8, 1)), batch_size=2)
logger = MLFlowLogger(
    os.environ["MLFLOW_EXPERIMENT_NAME"], log_model=True
)  # the address comes from the environment
Trainer(max_epochs=1, logger=logger, log_every_n_steps=1, enable_progress_bar=False).fit(Line(), data)
