"""What training programs print: lines of our own in the format of each framework's print statements.

Every text says the same run where the format allows it: the training loss is 4.5, 4.25, 4.0 at steps 10, 20, 30.
"""

from collections.abc import Callable

STEPS = ((10, 4.5), (20, 4.25), (30, 4.0))
RUN = [(step, loss) for step, loss in STEPS]


def _lines(line: Callable[[int, float], str]) -> str:
    return "\n".join(line(step, loss) for step, loss in STEPS) + "\n"


FRAMEWORKS: dict[str, str] = {
    "Megatron-LM": _lines(
        lambda s, v: (
            f" [2026-01-02 10:00:{s}] iteration {s:8d}/     500 | consumed samples: {s * 512:12d} | elapsed time "
            f"per iteration (ms): 812.5 | throughput per GPU (TFLOP/s/GPU): 26.8 | learning rate: 5.800000E-05 | "
            f"global "
            f"batch size:   512 | lm loss: {v:.6E} | loss scale: 1.0 | grad norm: 0.852 | number of skipped "
            f"iterations:   0 "
            "| number of nan iterations:   0 |"
        )
    ),
    "GPT-NeoX": _lines(
        lambda s, v: (
            f" samples/sec: 28.313 | iteration {s:8d}/  320000 | elapsed time per iteration (ms): 1130.3 | learning "
            f"rate: 1.500E-06 | approx flops per GPU: 27.8TFLOPS | lm_loss: {v:.6E} | loss scale: 4294967296.0 | "
            f"number of "
            "skipped iterations:  10 | number of nan iterations:   0 |"
        )
    ),
    "DeepSpeed": _lines(
        lambda s, v: (
            f"[2026-01-02 10:00:05,234] [INFO] [logging.py:128:log_dist] [Rank 0] step={s}, skipped=0, "
            f"lr=[1.5644e-05], mom=[[0.9, 0.95]]\nsteps: {s} loss: {v:.4f} iter time (s): 18.305 samples/sec: 0.219"
        )
    ),
    "NeMo": _lines(
        lambda s, v: (
            f"Training epoch 0, iteration {s - 1}/99 | lr: 1.5e-06 | global_batch_size: 8 | global_step: {s} | "
            f"reduced_train_loss: {v} | train_step_timing in s: 2.101 | consumed_samples: {8 * s}"
        )
    ),
    "MaxText": _lines(
        lambda s, v: (
            f"I0317 10:00:15.200000 125344476638336 metric_logger.py:181] completed step: {s}, seconds: 0.434, "
            f"TFLOP/s/device: 237.056, Tokens/s/device: 9448.085, total_weights: 29413, loss: {v:.3f}"
        )
    ),
    "levanter": _lines(
        lambda s, v: (
            f"2026-01-02T10:00:00 - 0 - levanter.callbacks - tqdm_logging.py:36 - INFO :: Progress on:train "
            f"{s}it/1.00kit rate:5.2it/s remaining:01:23 elapsed:00:12 postfix:loss={v}"
        )
    ),
    "EasyLM": _lines(
        lambda s, v: (
            f"\n{{'accuracy': 0.125,\n 'gradient_norm': 1.25,\n 'learning_rate': 0.0003,\n 'loss': {v},\n 'step': {s}}}"
        )
    ),
    "OLMo": _lines(
        lambda s, v: (
            f"[2026-01-02 10:00:26] INFO     [olmo.train:816, rank=0] [step={s}/739328]\n"
            f"    train/CrossEntropyLoss={v}\n    train/Perplexity=76,631\n    throughput/total_tokens=4,194,304\n"
            "    System/Peak GPU Memory (MB)=42,133"
        )
    ),
    "OLMo-core": _lines(
        lambda s, v: (
            f"2026-01-02 10:00:26.123 host:0 olmo_core.train.callbacks.console_logger:96 INFO [step={s}/739328,"
            f"epoch=1/1]\n    optim/LR (group 0)=3.0E-4\n    optim/total grad norm=0.7512\n    train/CE loss={v}\n"
            "    throughput/device/TPS=12,345"
        )
    ),
    "Composer": _lines(
        lambda s, v: (
            f"[batch={s}/4800]:\n         Train time/epoch: 0\n         Train time/batch: {s - 1}\n"
            f"         Train loss/train/total: {v:.4f}\n         Train metrics/train/LanguagePerplexity: 155.5684\n"
            "         Train lr-DecoupledAdamW/group0: 0.0001"
        )
    ),
    "torchtune": _lines(lambda s, v: f"Step {s} | loss:{v} lr:2e-05 tokens_per_second_per_gpu:1234.5 grad_norm:0.75"),
    "torchtitan": _lines(
        lambda s, v: (
            f"[rank0]:2026-01-02 10:00:00,123 - root - INFO - \x1b[31mstep: {s}  \x1b[32mloss: {v:7.4f}  "
            "\x1b[38;2;180;60;0mgrad_norm:  1.2500  \x1b[33mmemory: 38.13GiB(47.65%)  \x1b[34mtps: 5,432  "
            "\x1b[36mtflops: "
            "314.12  \x1b[35mmfu: 31.76%\x1b[39m"
        )
    ),
    "litgpt": _lines(
        lambda s, v: (
            f"Epoch 1 | iter {s} step {s // 2} | loss train: {v:.3f}, val: n/a | iter time: 200.31 ms (step) "
            "remaining time: 0:05:12"
        )
    ),
    "axolotl, TRL, unsloth": "".join(
        f" {s}%|█         | {s}/100 [00:05<00:45,  1.93it/s]\r{{'loss': {v}, 'grad_norm': 1.25, 'learning_rate': "
        f"9e-05, "
        f"'epoch': {s / 100}}}\n"
        for s, v in STEPS
    ),
    "LLaMA-Factory": "".join(
        f" {s}%|█         | {s}/100 [00:05<00:45,  1.93it/s][INFO|2026-01-02 10:00:00] "
        f"llamafactory.train.callbacks:143 >> "
        f"{{'loss': {v}, 'learning_rate': 4.9863e-05, 'epoch': {s / 100}, 'throughput': 1234.56}}\n"
        for s, v in STEPS
    ),
    "ms-swift": _lines(
        lambda s, v: (
            f"{{'loss': {v}, 'grad_norm': 1.25, 'learning_rate': 1e-05, 'memory(GiB)': 21.5, "
            f"'train_speed(iter/s)': 0.31, 'epoch': {s / 100}, 'global_step/max_steps': '{s}/100', 'percentage': "
            f"'{s}.00%', "
            "'elapsed_time': '5m 18s', 'remaining_time': '2h 3m 4s'}"
        )
    ),
    "mmengine, xtuner": _lines(
        lambda s, v: (
            f"2026/01/02 10:00:00 - mmengine - INFO - Iter(train) [  {s}/1234]  lr: 2.0000e-05  eta: 1:23:45  "
            f"time: 1.2345  data_time: 0.0123  memory: 12345  loss: {v:.4f}  grad_norm: 1.2500"
        )
    ),
    "PaddleNLP": _lines(
        lambda s, v: (
            f"[2026-01-02 10:00:00,123] [    INFO] - loss: {v}, learning_rate: 3e-05, global_step: {s}, "
            "current_memory_allocated: 12.5, interval_runtime: 1.23, interval_samples_per_second: 26.0, epoch: 0.01"
        )
    ),
    "MLX-LM": _lines(
        lambda s, v: (
            f"Iter {s}: Train loss {v:.3f}, Learning Rate 1.000e-05, It/sec 1.234, Tokens/sec 456.789, Trained "
            f"Tokens {s * 40}, Peak mem 12.345 GB"
        )
    ),
    "fairseq": _lines(
        lambda s, v: (
            f"2026-01-02 10:00:00 | INFO | train_inner | epoch 001:    {s} / 1234 loss={v}, nll_loss=4.1, "
            f"ppl=17.15, wps=12345.6, ups=3.2, wpb=3800.5, bsz=120, num_updates={s}, lr=1.2e-05, gnorm=3.4, clip=0, "
            "train_wall=12, wall=20"
        )
    ),
    "OpenNMT": _lines(
        lambda s, v: (
            f"[2026-01-02 10:00:00,123 INFO] Step {s}/100000; acc:  12.34; ppl: 90.02; xent: {v:.2f}; lr: 0.00012; "
            "12345/12345 tok/s;     12 sec;"
        )
    ),
    "Marian": _lines(
        lambda s, v: (
            f"[2026-01-02 10:00:00] Ep. 1 : Up. {s} : Sen. 123,456 : Cost {v:.8f} * 1,234,567 @ 12,345 after "
            "1,234,567 : Time 123.45s : 12345.67 words/s : gNorm 1.2345 : L.r. 1.0000e-04"
        )
    ),
    "icefall": _lines(
        lambda s, v: (
            f"2026-01-02 10:00:00,123 INFO [train.py:901] (0/4) Epoch 1, batch {s}, loss[loss={v}, "
            f"simple_loss=0.4, pruned_loss=4.1, over 1234.00 frames. ], tot_loss[loss={v}, simple_loss=0.4, over "
            f"12345.00 "
            "frames. ], batch size: 70, lr: 5.00e-02, grad_scale: 1.0"
        )
    ),
    "ESPnet": _lines(
        lambda s, v: (
            f"[host:0/1] 2026-01-02 10:00:00,123 (trainer:762) INFO: 1epoch:train:{s - 9}-{s}batch: "
            f"iter_time=1.2e-04, forward_time=0.123, loss_att=3.2, acc=0.125, loss={v}, backward_time=0.2, "
            f"grad_norm=1.25, "
            "optim0_lr0=1.000e-06, train_time=1.5"
        )
    ),
    "Coqui": _lines(
        lambda s, v: (
            f"\n   --> TIME: 2026-01-02 10:00:00 -- STEP: {s}/121 -- GLOBAL_STEP: {s}\n     | > loss: {v}  ({v})\n"
            "     | > grad_norm: 1.25  (1.25)\n     | > current_lr: 0.0001 \n     | > step_time: 0.5  (0.5)"
        )
    ),
    "Accelerate": _lines(
        lambda s, v: f"01/02/2026 10:00:00 - INFO - __main__ - step: {s}, loss: tensor({v}, device='cuda:0')"
    ),
    "T2T": _lines(lambda s, v: f"INFO:tensorflow:loss = {v}, step = {s} (12.345 sec)"),
    "nanoGPT": _lines(lambda s, v: f"iter {s}: loss {v:.4f}, time 123.45ms, mfu 31.41%"),
    "nanochat": _lines(
        lambda s, v: (
            f"step {s:05d}/01000 ({s / 10:.1f}%) | loss: {v:.4f} | lrm: 1.00 | dt: 153.10ms | tok/sec: 107,322 | "
            "mfu: 41.20 | epoch: 1 | total time: 0.31m | eta: 2.5m"
        )
    ),
    "llm.c": _lines(
        lambda s, v: (
            f"step {s:4d}/19560 | loss {v:7.6f} (+nanz)| norm 1.2500 (+nanz)| lr 1.00e-04 | 812.51 ms | 46.3% bf16 "
            "MFU | 512345 tok/s"
        )
    ),
    "modded-nanogpt": _lines(lambda s, v: f"step:{s}/9536 train_loss:{v:.4f} train_time:2500ms step_avg:250.00ms"),
    "Flax examples": _lines(lambda s, v: f"Step... ({s} | Loss: {v}, Learning Rate: 0.0003)"),
    "CLU": _lines(
        lambda s, v: f"I0102 10:00:00.123456 140735 logging_writer.py:48] [{s}] learning_rate=0.0003, train/loss={v}"
    ),
    "detectron2": _lines(
        lambda s, v: (
            f"[01/02 10:00:00 d2.utils.events]:  eta: 1:00:00  iter: {s}  total_loss: {v}  loss_cls: 1.25  time: 0.3012"
            "  data_time: 0.0123  lr: 0.0001  max_mem: 1234M"
        )
    ),
    "PyTorch, epochs of batches": _lines(lambda s, v: f"Train Epoch: 1 [{s}/60000 (0%)]\tLoss: {v:.6f}"),
    "PyTorch, ImageNet": _lines(
        lambda s, v: (
            f"Epoch: [0][{s:5d}/5005]\tTime  0.512 ( 0.934)\tData  0.000 ( 0.412)\tLoss {v:.4e} (4.6001e+00)\t"
            "Acc@1   0.00 (  0.10)\tAcc@5   0.78 (  0.50)"
        )
    ),
    "PyTorch, word model": _lines(
        lambda s, v: f"| epoch   1 | {s:5d}/ 2983 batches | lr 20.00 | ms/batch 11.21 | loss {v:5.2f} | ppl    90.02"
    ),
    "timm": _lines(
        lambda s, v: (
            f"Train: 0 [{s:4d}/1251 (  1%)]  Loss: {v:.3g} ({v:.3g})  Time: 0.512s, 1999.12/s  LR: 1.000e-05  "
            "Data: 0.012 (0.034)"
        )
    ),
    "DETR": _lines(
        lambda s, v: f"Epoch: [0]  [{s:4d}/1000]  eta: 0:10:00  lr: 0.000100  loss: {v:.4f} (4.6001)  time: 0.512"
    ),
    "SB3": _lines(
        lambda s, v: (
            "-" * 41 + f"\n| rollout/                |             |\n|    ep_len_mean          | 22.3        |\n"
            f"|    ep_rew_mean          | 21.8        |\n| time/                   |             |\n"
            f"|    fps                  | 812         |\n|    total_timesteps      | {s}          |\n"
            f"| train/                  |             |\n|    approx_kl            | 0.008       |\n"
            f"|    loss                 | {v}         |\n" + "-" * 41
        )
    ),
    "rsl_rl": _lines(
        lambda s, v: (
            "#" * 40 + f"\n            \x1b[1m Learning iteration {s}/1500 \x1b[0m\n\n    Computation: 1234 steps/s\n"
            f"          Mean value function loss: 0.1250\n                      Mean loss: {v}\n                   "
            f"Mean reward: 3.20"
        )
    ),
    "fastai, plain columns": "epoch     train_loss  valid_loss  accuracy  time    \n"
    + "".join(f"{s}        {v}      {v + 0.25}     0.125     00:12     \n" for s, v in STEPS),
    "notebook, copied as text": "Step\tTraining Loss\n" + "".join(f"{s}\t{v:.6f}\n" for s, v in STEPS),
    "Markdown below prose": "Why does it fall so slowly?\n\nStep | Training Loss | kl\n-- | -- | --\n"
    + "".join(f"{s} | {v:.6f} | No Log\n" for s, v in STEPS),
    "model card": "---\nlicense: mit\n---\n\n# A model\n\n### Training results\n\n"
    "| Training Loss | Epoch | Step | Validation Loss |\n|:-------------:|:-----:|:----:|:---------------:|\n"
    + "".join(f"| {v}          | 0.{s}  | {s}   | {v + 0.25}            |\n" for s, v in STEPS),
    "rich table": "┏━━━━━━┳━━━━━━━┓\n┃ Step ┃ Loss  ┃\n┡━━━━━━╇━━━━━━━┩\n"
    + "".join(f"│ {s}   │ {v:.3f} │\n" for s, v in STEPS)
    + "└──────┴───────┘\n",
    "OpenRLHF, Lightning (bars)": "".join(
        f"\rTrain epoch [1/1]:  {s}%|█         | {s}/100 [00:01<00:09,  8.1it/s, loss={v}, lr=1e-5]" for s, v in STEPS
    ),
    "a bar's title": "".join(f"\rloss: {v}:  {s}%|█         | {s}/100 [00:01<00:09,  8.1it/s]" for s, v in STEPS),
}

OF_REWARDS: dict[str, str] = {
    "verl": _lines(
        lambda s, v: (
            f"(TaskRunner pid=3165) step:{s} - global_seqlen/min:69484 - actor/pg_loss:np.float64(-0.0007) - "
            f"critic/rewards/mean:np.float64({v}) - actor/ppo_kl:np.float64(0.0002) - training/global_step:{s}"
        )
    ),
    "SB3": _lines(
        lambda s, v: (
            f"| rollout/                |             |\n|    ep_rew_mean          | {v}         |\n"
            f"| time/                   |             |\n|    total_timesteps      | {s}          |\n" + "-" * 41
        )
    ),
}
"""The same numbers as a reward."""

OF_EPOCHS: dict[str, str] = {
    "Keras": "".join(
        f"Epoch {i}/3\n"
        f"\r 1/938 [..............................] - ETA: 5:00 - loss: 9.5\r938/938 "
        f"[==============================] - 3s "
        f"3ms/step - loss: {v} - accuracy: 0.5 - val_loss: {v + 0.25} - val_accuracy: 0.25\n"
        for i, (_, v) in enumerate(STEPS, 1)
    ),
    "Keras 3": "".join(
        f"Epoch {i}/3\n938/938 ━━━━━━━━━━━━━━━━━━━━ 3s 3ms/step - accuracy: 0.5 - loss: {v} - val_loss: {v + 0.25}\n"
        for i, (_, v) in enumerate(STEPS, 1)
    ),
    "ESPnet, results": "".join(
        f"[host] 2026-01-02 10:00:00,123 (trainer:338) INFO: {i}epoch results: [train] iter_time=1.2e-04, loss={v}, "
        f"grad_norm=1.25, [valid] loss={v + 0.25}, acc=0.5\n"
        for i, (_, v) in enumerate(STEPS, 1)
    ),
    "ultralytics": "".join(
        "      Epoch    GPU_mem       loss   cls_loss  Instances       Size\n"
        f"        {i}/3      4.12G      {v}      2.345         23        640: 100%|██████████| 8/8 [00:03<00:00,  "
        f"2.4it/s]\n"
        for i, (_, v) in enumerate(STEPS, 1)
    ),
}
"""The same losses at epochs 1, 2, 3."""
