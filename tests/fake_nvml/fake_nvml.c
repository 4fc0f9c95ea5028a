/* A libnvidia-ml.so.1 without a GPU: it answers from a text file, read anew at every call.
 *
 * FAKE_NVML_SCRIPT names the file. A line is "key value": "count 2", "0.energy_mj 1000",
 * "0.field.83 1000". A value "!15" answers with NVML error 15. A key that is not there answers
 * NOT_SUPPORTED, as a driver does for what a GPU lacks. Device handles are index + 1. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, UNINITIALIZED = 1 };
enum { TEXT_SIZE = 96, MAX_DEVICES = 16 };

typedef struct { unsigned field, scope; int64_t timestamp, latency; int type, result; uint64_t value; } Field;
typedef struct { unsigned before[6], gpu_slices, compute_slices; unsigned long long memory_mib; } Attributes;

static int users = 0;

static int find(const char *key, char *text) {
    FILE *script = fopen(getenv("FAKE_NVML_SCRIPT"), "r");
    char line[256], name[TEXT_SIZE];
    int result = NOT_SUPPORTED;
    while (script && result == NOT_SUPPORTED && fgets(line, sizeof line, script))
        if (sscanf(line, "%95s %95[^\n]", name, text) == 2 && !strcmp(name, key))
            result = *text == '!' ? atoi(text + 1) : SUCCESS;
    if (script) fclose(script);
    return result;
}

static int find_text(void *device, const char *name, char *text) {
    char key[TEXT_SIZE];
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

int nvmlDeviceGetTotalEnergyConsumption(void *d, uint64_t *mj) { return find_number(d, "energy_mj", mj); }
int nvmlDeviceGetPowerUsage(void *d, unsigned *mw) { return find_uint(d, "power_mw", mw); }
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
