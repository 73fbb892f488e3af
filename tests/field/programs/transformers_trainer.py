import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

model = BertForSequenceClassification(
    BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
)
rows = [{"input_ids": torch.tensor([1, 2, 3]), "labels": torch.tensor(0)} for _ in range(8)]
arguments = TrainingArguments(
    tempfile.mkdtemp(), report_to="mlflow", run_name="tiny", logging_steps=1, max_steps=3, save_strategy="no"
)
Trainer(model, arguments, train_dataset=rows).train()
