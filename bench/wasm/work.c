/* What isolation wasm is measured with: says hello, computes, or stays. Compiled for wasm32-wasi. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Calls. */
static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

/* Loads and stores far apart. */
static unsigned sieve(int most) {
    static uint8_t composite[20000001];
    unsigned found = 0;
    memset(composite, 0, sizeof composite);
    for (int i = 2; i <= most; i++) {
        if (composite[i]) continue;
        found++;
        for (int64_t j = (int64_t)i * i; j <= most; j += i) composite[j] = 1;
    }
    return found;
}

/* A short inner loop of floating point. */
static double product(int n) {
    double *a = malloc(n * n * sizeof *a), *b = malloc(n * n * sizeof *b), *c = calloc(n * n, sizeof *c);
    for (int i = 0; i < n * n; i++) a[i] = i % 7, b[i] = i % 5;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++)
            for (int j = 0; j < n; j++) c[i * n + j] += a[i * n + k] * b[k * n + j];
    return c[n + 1];
}

/* A chain in which each step waits for the one before. */
static uint32_t hash(int n) {
    uint32_t h = 2166136261u;
    for (int i = 0; i < n; i++) h = (h ^ (i & 255)) * 16777619u;
    return h;
}

int main(int count, char **args) {
    const char *what = count > 1 ? args[1] : "hello";
    if (!strcmp(what, "calls")) printf("%d\n", fib(41));
    else if (!strcmp(what, "memory")) for (int round = 0; round < 10; round++) printf("%u\n", sieve(20000000));
    else if (!strcmp(what, "floats")) printf("%f\n", product(1200));
    else if (!strcmp(what, "chain")) printf("%u\n", hash(700000000));
    else if (!strcmp(what, "stay")) {
        for (;;) sleep(1000);
    } else puts("hello");
    return 0;
}
