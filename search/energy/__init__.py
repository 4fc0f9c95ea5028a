"""What a training costs in joules: sensors, the meter over them, and what its numbers are worth.

A joule on its way has one name at each station. All are whole millijoules (`units`), and a sum of them is
exact:

- `counter_mj`: what a sensor itself shows at this moment, counted since its driver was loaded.
- `jumped_mj`: what it moved as energy cannot move: a reset, a glitch, a wrap that was missed.
- `metered_mj`: what it moved since it was opened, jumps left out. Starts at 0 and never falls.
- `increment_mj`: what `metered_mj` moved from one moment to the next; `unobserved_mj` is increments of which
  nobody has seen yet who worked, `unsettled_mj` those that are not split yet, `gap_mj` those that never can
  be, as who worked meanwhile is unknown.
- `active_mj`, `context_mj`, `idle_share_mj`: one window's part of the three layers of an increment
  (`attribution.tick`), by what drew it: work, the mere presence of a process, the idle device.
- `used_mj`: the sum of these three: what one window used of one device. `start_mj` is the same for its
  starts.
- `external_mj`, `idle_mj`: the parts of no window. Gaps and jumps together are `unaccounted`, and `device_mj`
  is all that is settled. So of a device

      counter end - counter start = device = used + starts + external + idle + unaccounted   to the millijoule

- `gpu_mj`, `cpu_mj`, `dram_mj`, `estimated_mj`: `used_mj` over a window's devices of one kind. From here on
  it is an `EnergyReading`, in rows, summaries and the journal. `measured_mj` is the sum of the first three,
  `total_mj` of all.
- `reported_mj`: what rows and closed windows of trials have together; `unreported_mj` what devices have given
  to trials beyond it, `beside_mj` what the run used beside its trials: idling, and its background load.
- `energy_gpu_j` and so on: the columns of the tables, the same names in joules (`energy_j` is `total_mj`).

Import from the modules: most of the program reads joules (`reading`, `units`) and opens no meter.
"""
