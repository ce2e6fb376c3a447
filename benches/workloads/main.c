/* `work NAME [UNITS]` runs a workload and prints its checksum. `work serve` takes such lines from standard input and
   marks beginning and end on standard output, so that whoever reads them can take the time:

       @start NAME
       @done NAME CHECKSUM MICROSECONDS-OF-PROCESSOR-TIME
       @skip NAME why

   A unit that gives another checksum than the one before it is answered by `@wrong NAME`. */
#include "work.h"
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern const struct work compress_works[], script_works[], curve_works[];
extern long size;
static const struct work *const lists[] = {integer_works, memory_works,   float_works,  vector_works,
                                           system_works,  compress_works, script_works, curve_works, NULL};

/* The workload of this name, or of what stands before a colon; what stands behind it is the size. */
static const struct work *find(const char *given) {
    char name[64];
    size_t length = strcspn(given, ":");
    if (length >= sizeof name) return NULL;
    memcpy(name, given, length), name[length] = 0;
    size = given[length] ? atol(given + length + 1) : 1024;
    if (size < 1) return NULL;
    for (const struct work *const *list = lists; *list; list++)
        for (const struct work *w = *list; w->name; w++)
            if (!strcmp(w->name, name)) return w;
    return NULL;
}

static uint64_t processor_time(void) {
    struct timespec own;
    struct rusage children;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    return own.tv_sec * 1000000ull + own.tv_nsec / 1000 + children.ru_utime.tv_sec * 1000000ull +
           children.ru_utime.tv_usec + children.ru_stime.tv_sec * 1000000ull + children.ru_stime.tv_usec;
}

static void perform(const char *name, long units) {
    const struct work *w = find(name);
    const char *missing = w ? w->missing ? w->missing() : NULL : "there is no such workload";
    if (missing) {
        printf("@skip %s %s\n", name, missing);
        return;
    }
    if (w->setup) w->setup();
    printf("@start %s\n", name);
    fflush(stdout);
    uint64_t before = processor_time(), sum = w->run();
    for (long n = 1; n < units; n++)
        if (w->run() != sum) {
            printf("@wrong %s\n", name);
            return;
        }
    printf("@done %s %016llx %llu\n", name, (unsigned long long)sum, (unsigned long long)(processor_time() - before));
}

/* Each workload runs in a process of its own. */
static int serve(void) {
    char line[128], name[64];
    long units;
    struct termios settings;
    if (tcgetattr(0, &settings) == 0) {
        cfmakeraw(&settings);
        tcsetattr(0, TCSANOW, &settings);
    }
    printf("@ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%63s %ld", name, &units) != 2) break;
        pid_t child = fork();
        if (!child) {
            perform(name, units);
            fflush(stdout);
            _exit(0);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) < 0 || status) printf("@wrong %s ended with %#x\n", name, status);
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "serve")) return serve();
    if (argc == 2 && !strcmp(argv[1], "list")) {
        for (const struct work *const *list = lists; *list; list++)
            for (const struct work *w = *list; w->name; w++) puts(w->name);
        return 0;
    }
    if (argc < 2 || !find(argv[1])) {
        fprintf(stderr, "usage: work serve | work list | work NAME [UNITS]\n");
        return 2;
    }
    perform(argv[1], argc > 2 ? atol(argv[2]) : 1);
    return 0;
}
