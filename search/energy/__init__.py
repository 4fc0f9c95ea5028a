"""The energy of a training: sensors, the meter that reads them, and the quality of its numbers.

Joules have one name at each step of their way. All are whole millijoules (`units`), so sums are exact:

- `counter_mj`: what a sensor itself shows at a moment, counted since its driver was loaded.
- `jumped_mj`: movement of a sensor that cannot be energy: a reset, a glitch, a missed wrap.
- `metered_mj`: movement of a sensor since it was opened, jumps left out. Starts at 0 and never falls.
- `increment_mj`: the movement of `metered_mj` between two moments. `unobserved_mj` are increments for which
  it has not been observed yet who worked, `unsettled_mj` those not yet split, and `gap_mj` those that never
  can be split, because it is unknown who worked meanwhile.
- `active_mj`, `context_mj`, `idle_share_mj`: one window's parts of the three layers of an increment
  (`attribution.tick`), by what drew them: work, the mere presence of a process, the idle device.
- `used_mj`: the sum of these three, that is, what one window used of one device. `start_mj` is the same for
  its starts.
- `external_mj`, `idle_mj`: the parts that belong to no window. Gaps and jumps together are `unaccounted`, and
  `device_mj` is everything settled. For each device, to the millijoule,

      counter end - counter start = device = used + starts + external + idle + unaccounted

- `gpu_mj`, `cpu_mj`, `dram_mj`, `estimated_mj`: `used_mj` over a window's devices of one kind. From here on
  joules are an `EnergyReading`, in rows, summaries and the journal. `measured_mj` is the sum of the first
  three, `total_mj` of all four.
- `reported_mj`: the sum over trials' rows and closed windows. `unreported_mj` is what devices gave to trials
  beyond that; `beside_mj` is what the run used beside its trials: idling and its background workload.
- `energy_gpu_j` and so on: columns of the tables, with the same names in joules (`energy_j` is `total_mj`).

Import from the modules: most of the program only reads joules (`reading`, `units`) and opens no meter.
"""
