"""Statistics on plain arrays: no torch, no store, no run. One file per kind of procedure.

Which one to take, by what may be assumed of the values:

- independent values (documents, seeds): `intervals.t_interval`; their shares: `intervals.wilson`; a share of items
  clustered by document: `estimates.share`;
- items clustered by document, a ratio such as nats per token: `estimates.clustered_mean`;
- the same items before and after: `paired.paired_difference`; the best of many checkpoints: `paired.since_best`;
- two groups of documents: `two_samples.group_difference`; many at once: `permutations.min_p`;
- a series whose neighbours are alike: `autocorrelation.detrended_mean` (refuses what is too short), `robust.geyer_mean`
  (always answers; for the diagnosis of logs);
- two curves of one run: `correlations.correlation_along_run`; one number each of many runs:
  `correlations.correlation_over_runs`.

How often each claims something that is not there: docs/statistics.md.
"""
