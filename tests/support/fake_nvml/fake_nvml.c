/* A libnvidia-ml.so.1 without a GPU: it answers from a text file, read again at every call.
 *
 * FAKE_NVML_SCRIPT names the file. A line is "key value": "count 2", "0.energy_mj 1000",
 * "0.field.83 1000". A value "!15" answers with NVML error 15. A key that is not there answers
 * NOT_SUPPORTED, as a driver does for what a GPU lacks. Device handles are index + 1.
 *
 * "0.processes 101:2048 102:512" lists pids and MiB, and "0.samples 101:1700000000000000:80" the ring: pid,
 * microseconds, percent. What follows the wall clock instead: "0.profile SINCE_US STEP_MS MW:MS MW:MS" is
 * power in phases that repeat, with an energy counter that moves every STEP_MS; "0.busy 101:80 102:40" gives
 * a sample every 100 ms, each naming the next pid. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { TEXT_SIZE = 2048, MAX_DEVICES = 16, MAX_PHASES = 16, RING = 100, SAMPLE_US = 100000 };

typedef struct { unsigned field, scope; int64_t timestamp, latency; int type, result; uint64_t value; } Field;
typedef struct { unsigned before[6], gpu_slices, compute_slices; unsigned long long memory_mib; } Attributes;

typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } Process;
typedef struct { unsigned pid; unsigned long long at_us; unsigned sm, mem, enc, dec; } Sample;
typedef struct { unsigned gpu, memory; } Rates;

static int users = 0;

static int find(const char *key, char *text) {
    FILE *script = fopen(getenv("FAKE_NVML_SCRIPT"), "r");
    char line[TEXT_SIZE + 96], name[96];
    int result = NOT_SUPPORTED;
    while (script && result == NOT_SUPPORTED && fgets(line, sizeof line, script))
        if (sscanf(line, "%95s %2047[^\n]", name, text) == 2 && !strcmp(name, key))
            result = *text == '!' ? atoi(text + 1) : SUCCESS;
    if (script) fclose(script);
    return result;
}

static int find_text(void *device, const char *name, char *text) {
    char key[96];
    snprintf(key, sizeof key, "%d.%s", (int)(intptr_t)device - 1, name);
    return users ? find(key, text) : UNINITIALIZED;
}

static int find_number(void *device, const char *name, uint64_t *number) {
    char text[TEXT_SIZE];
    int result = find_text(device, name, text);
    if (result == SUCCESS) *number = strtoull(text, NULL, 10);
    return result;
}

static int find_uint(void *device, const char *name, unsigned *number) {
    uint64_t wide;
    int result = find_number(device, name, &wide);
    if (result == SUCCESS) *number = (unsigned)wide;
    return result;
}

static int copy(int result, const char *text, char *out, unsigned size) {
    if (result == SUCCESS) snprintf(out, size, "%s", text);
    return result;
}

int nvmlInitWithFlags(unsigned flags) {
    char text[TEXT_SIZE];
    int result = find("init", text);
    if (result == SUCCESS || result == NOT_SUPPORTED) return users++, SUCCESS;
    return result;
}
int nvmlShutdown(void) { return users ? users--, SUCCESS : UNINITIALIZED; }
int fake_nvml_users(void) { return users; }
const char *nvmlErrorString(int result) { return "an error of the fake NVML"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    char text[TEXT_SIZE];
    int result = find("count", text);
    if (result == SUCCESS) *count = atoi(text);
    return result;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = (void *)(intptr_t)(index + 1);
    return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    char text[TEXT_SIZE];
    for (intptr_t handle = 1; handle <= MAX_DEVICES; handle++)
        if (find_text((void *)handle, "uuid", text) == SUCCESS && !strcmp(text, uuid))
            return *device = (void *)handle, SUCCESS;
    return NOT_FOUND;
}
int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    char text[TEXT_SIZE];
    return copy(find("driver_version", text), text, out, size);
}
int nvmlDeviceGetUUID(void *device, char *out, unsigned size) {
    char text[TEXT_SIZE];
    return copy(find_text(device, "uuid", text), text, out, size);
}
int nvmlDeviceGetName(void *device, char *out, unsigned size) {
    char text[TEXT_SIZE];
    return copy(find_text(device, "name", text), text, out, size);
}

static unsigned long long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

static int play_profile(void *device, uint64_t *mj, unsigned *mw) {
    char text[TEXT_SIZE], *at = text;
    double phase_mw[MAX_PHASES] = {0}, phase_ms[MAX_PHASES], cycle_ms = 0, cycle_mj = 0, total_mj = 0;
    int result = find_text(device, "profile", text), phases = 0;
    if (result != SUCCESS) return result;
    unsigned long long since_us = strtoull(at, &at, 10), step_ms = strtoull(at, &at, 10);
    for (; *at && phases < MAX_PHASES; phases++) {
        phase_mw[phases] = strtod(at, &at), at++;
        phase_ms[phases] = strtod(at, &at);
        cycle_ms += phase_ms[phases], cycle_mj += phase_mw[phases] * phase_ms[phases] / 1000;
    }
    unsigned long long passed_ms = (now_us() - since_us) / 1000 / step_ms * step_ms;
    double left_ms = passed_ms - cycle_ms * (uint64_t)(passed_ms / cycle_ms);
    total_mj = cycle_mj * (uint64_t)(passed_ms / cycle_ms);
    *mw = phase_mw[0];
    for (int i = 0; i < phases && left_ms > 0; left_ms -= phase_ms[i++]) {
        *mw = phase_mw[i];
        total_mj += phase_mw[i] * (left_ms < phase_ms[i] ? left_ms : phase_ms[i]) / 1000;
    }
    *mj = (uint64_t)total_mj;
    return SUCCESS;
}
int nvmlDeviceGetTotalEnergyConsumption(void *d, uint64_t *mj) {
    unsigned mw;
    int result = find_number(d, "energy_mj", mj);
    return result == NOT_SUPPORTED ? play_profile(d, mj, &mw) : result;
}
int nvmlDeviceGetPowerUsage(void *d, unsigned *mw) {
    uint64_t mj;
    int result = find_uint(d, "power_mw", mw);
    return result == NOT_SUPPORTED ? play_profile(d, &mj, mw) : result;
}
int nvmlDeviceGetUtilizationRates(void *d, Rates *rates) { return find_uint(d, "gpu_percent", &rates->gpu); }

int nvmlDeviceGetMemoryInfo(void *device, uint64_t memory[3]) { /* total, free, used; in bytes */
    uint64_t total = 0, used = 0;
    int result = find_number(device, "memory_mib", &total);
    find_number(device, "memory_used_mib", &used);
    memory[0] = total << 20, memory[1] = (total - used) << 20, memory[2] = used << 20;
    return result;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, Process *processes) {
    char text[TEXT_SIZE] = "", *at = text;
    int result = find_text(device, "processes", text);
    unsigned found = 0;
    if (result != SUCCESS) return result;
    for (unsigned pid; (pid = strtoul(at, &at, 10)); found++) {
        unsigned long long mib = *at == ':' ? strtoull(at + 1, &at, 10) : 0;
        if (processes && found < *count) processes[found] = (Process){.pid = pid, .memory = mib << 20};
    }
    result = found && (!processes || found > *count) ? INSUFFICIENT_SIZE : SUCCESS;
    return *count = found, result;
}

int nvmlDeviceGetComputeRunningProcesses_v2(void *device, unsigned *count, Process *processes) {
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, processes);
}

static int add_sample(Sample *samples, unsigned room, unsigned found, Sample sample) {
    if (samples && found < room) samples[found] = sample;
    return 1;
}
static unsigned play_busy(char *at, unsigned long long after_us, Sample *samples, unsigned room) {
    unsigned pids[MAX_DEVICES], percents[MAX_DEVICES], num = 0, found = 0;
    while (num < MAX_DEVICES && (pids[num] = strtoul(at, &at, 10))) percents[num++] = strtoul(at + 1, &at, 10);
    unsigned long long last = now_us() / SAMPLE_US, first = after_us / SAMPLE_US + 1;
    if (first + RING < last) first = last - RING;
    for (unsigned long long i = first; num && i <= last; i++)
        found += add_sample(samples, room, found,
                            (Sample){.pid = pids[i % num], .at_us = i * SAMPLE_US, .sm = percents[i % num]});
    return found;
}
int nvmlDeviceGetProcessUtilization(void *device, Sample *samples, unsigned *count, unsigned long long after_us) {
    char text[TEXT_SIZE] = "", *at = text;
    int result = find_text(device, "samples", text);
    unsigned found = 0;
    if (result == NOT_SUPPORTED && (result = find_text(device, "busy", text)) == SUCCESS)
        found = play_busy(text, after_us, samples, *count);
    else if (result == SUCCESS)
        for (Sample one = {0}; (one.pid = strtoul(at, &at, 10)) || *at == ':';) {
            one.at_us = strtoull(at + 1, &at, 10), one.sm = strtoul(at + 1, &at, 10);
            if (one.at_us > after_us) found += add_sample(samples, *count, found, one);
        }
    if (result != SUCCESS) return result;
    if (!found) return NOT_FOUND;
    result = !samples || found > *count ? INSUFFICIENT_SIZE : SUCCESS;
    return *count = found, result;
}
int nvmlDeviceGetEnforcedPowerLimit(void *d, unsigned *mw) { return find_uint(d, "power_limit_mw", mw); }
int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *c) { return find_uint(d, "temperature_c", c); }
int nvmlDeviceGetClockInfo(void *d, int type, unsigned *mhz) {
    return find_uint(d, type == 1 ? "sm_clock_mhz" : type == 2 ? "memory_clock_mhz" : "other_clock_mhz", mhz);
}
int nvmlDeviceGetFieldValues(void *device, int count, Field *fields) {
    char name[TEXT_SIZE];
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "field.%u", fields[i].field);
        fields[i].result = find_number(device, name, &fields[i].value);
    }
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *slice, void **parent) {
    uint64_t index;
    int result = find_number(slice, "mig_parent", &index);
    if (result == SUCCESS) *parent = (void *)(intptr_t)(index + 1);
    return result;
}
int nvmlDeviceGetAttributes_v2(void *d, Attributes *a) { return find_uint(d, "mig_slices", &a->gpu_slices); }
int nvmlDeviceGetMaxMigDeviceCount(void *d, unsigned *count) { return find_uint(d, "max_mig_devices", count); }
