/* What goes through the kernel or the processor's system side. */
#include "work.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* All processes on one processor, as in a guest with one. */
static void one_processor(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    int now = sched_getcpu();
    CPU_SET(now < 0 ? 0 : now, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static uint64_t system_calls(void) {
    uint64_t sum = 0;
    for (int n = 0; n < 60000; n++) sum += syscall(SYS_getppid) >= 0;
    return sum;
}

static uint64_t forks(void) {
    uint64_t sum = 0;
    for (int n = 0; n < 200; n++) {
        int status = 0, child = fork();
        if (!child) _exit(n & 63);
        waitpid(child, &status, 0);
        sum = mix(sum, WEXITSTATUS(status));
    }
    return sum;
}

static uint64_t pipes(void) {
    enum { TURNS = 4000 };
    int a[2], b[2];
    uint8_t byte = 0;
    if (pipe(a) || pipe(b)) return 0;
    int child = fork();
    if (!child) {
        for (int n = 0; n < TURNS; n++) {
            if (read(a[0], &byte, 1) != 1) _exit(1);
            byte += 3;
            if (write(b[1], &byte, 1) != 1) _exit(1);
        }
        _exit(0);
    }
    uint64_t sum = 0;
    for (int n = 0; n < TURNS; n++)
        if (write(a[1], &byte, 1) == 1 && read(b[0], &byte, 1) == 1) sum = mix(sum, byte);
    waitpid(child, NULL, 0);
    for (int n = 0; n < 2; n++) close(a[n]), close(b[n]);
    return sum;
}

static uint64_t faults(void) {
    enum { SIZE = 4 << 20 };
    uint64_t sum = 0;
    for (int round = 0; round < 6; round++) {
        volatile char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return 0;
        madvise((void *)p, SIZE, MADV_NOHUGEPAGE);
        for (size_t n = 0; n < SIZE; n += 4096) sum += p[n] + 1, p[n] = 7;
        munmap((void *)p, SIZE);
    }
    return sum;
}

/* A function whose constant is overwritten before each call. */
static uint8_t *code;
static void modify_setup(void) {
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static uint64_t modify(void) {
    uint64_t sum = 0;
    if (code == MAP_FAILED) return 0;
    for (uint32_t n = 0; n < 150000; n++) {
        code[0] = 0xb8; /* MOV EAX, n; RET */
        memcpy(code + 1, &n, 4);
        code[5] = 0xc3;
        uint32_t (*function)(void) = (uint32_t(*)(void))code;
        sum = mix(sum, function());
    }
    return sum;
}

/* A shell script that starts a process in each turn. WORK_SHELL is a static busybox. */
static const char *no_shell(void) {
    const char *shell = getenv("WORK_SHELL");
    return shell && access(shell, X_OK) == 0 ? NULL : "WORK_SHELL names no program";
}
static uint64_t script(void) {
    static char lines[] = "i=0; s=7; while [ $i -lt 40 ]; do s=$($WORK_SHELL expr $s '*' 13 % 9973 + $i);"
                          " i=$((i+1)); done; echo $s";
    char answer[64] = "";
    int ends[2], status = 1;
    if (pipe(ends)) return 0;
    int child = fork();
    if (!child) {
        dup2(ends[1], 1);
        close(ends[0]);
        const char *shell = getenv("WORK_SHELL");
        /* Busybox runs its own commands without starting a process unless they are named by a path. */
        execl(shell, "sh", "-c", lines, (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], answer, sizeof answer - 1);
    close(ends[0]);
    waitpid(child, &status, 0);
    return got > 0 && status == 0 ? strtoull(answer, NULL, 10) : 0;
}

const struct work system_works[] = {
    {"syscalls", NULL, system_calls, NULL}, {"fork-wait", one_processor, forks, NULL},
    {"pipes", one_processor, pipes, NULL},  {"page-faults", NULL, faults, NULL},
    {"self-modify", modify_setup, modify, NULL}, {"script", one_processor, script, no_shell},
    {NULL, NULL, NULL, NULL},
};
