"""How language models learn and fail: the code behind the course.

Read it in this order; every module imports only from below itself.

::

    cli.py             coursekit list | run | doctor | progress |
                       calendar | cohort | packet | adopt
    lab/               what a notebook needs: start, predict, check, progress; exercises, one file a week
    book/              what the site needs: figures and interactives that work offline
    sweep.py           a run in parts, one a seed, on the machines of a Ray cluster
    experiments/       one folder a week, all alike:
      neural_networks/   README.md (reproduction card)  config.py  data.py  run.py  analysis.py  figures.py  measured/
      scaling_laws/      the same, for how the loss falls with size, data and compute
      emergence/         the same, for abilities of small networks under several metrics
      inverse_scaling/   the same, for what gets worse while a language model gets better
      grokking/          the same, for networks that memorize first and understand much later
      reversal_curse/    the same, for a pretrained model that is told facts in one order and asked in the other
      reversal_dynamics/ the same, for small networks and a bilinear model that show why
      forecasting/       the same, for how fast language models write and a forecast of those of 2030 that runs
    finetune.py        real finetuning of pretrained models: full or LoRA, packed, on one device or many
    evaluate.py        log-probability of a continuation, exact match, multiple choice, with standard errors
    generate.py        decoding with a cache of keys and values, prefill and decode timed apart
    reading.py         what a language model says at every place of some texts, and how it goes on, at the least cost
    train.py           the loop, schedules, checkpoints, sweeps
    stack.py           many small networks trained as one, with only the work that the loss needs
    model.py           the transformer, in one file
    data.py            token sequences: text, windows, epochs, padding, shared beginnings
    hub.py             pretrained models and data sets by name: hub, package or local folder, checked by hash
    compute.py         parameters, FLOPs and bytes            } no torch: chapters and fits
    stats.py           intervals, tests, regressions          } stay fast
    parametric.py      loss from size and data, fitted    }
    results.py         runs on disk: rows and a header        }
    figures.py         one plotly style for the whole course  }
"""
