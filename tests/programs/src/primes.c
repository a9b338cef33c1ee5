#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    int most = atoi(argv[1]), count = 0;
    char *sieve = calloc(most + 1, 1);
    for (int i = 2; i <= most; i++) {
        if (sieve[i]) continue;
        count++;
        for (long long j = (long long)i * i; j <= most; j += i) sieve[j] = 1;
    }
    printf("%d primes\n", count);
    return 0;
}
