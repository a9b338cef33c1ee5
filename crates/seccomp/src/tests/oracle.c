/*
 * Answers for libseccomp on standard input and output, one line each:
 *
 *   F default optimize          begins a filter, for no architecture yet
 *   A arch                      adds an architecture
 *   R action name count { index op value value_two } ...    adds a rule
 *   E                           prints "ok" and the program (code jt jf k ...), or "error" and what failed
 *   N arch name                 prints the number of a system call (negative when the architecture lacks it)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static scmp_filter_ctx filter;
static const char *failed;
static int failure;

static void check(const char *what, int rc)
{
	if (rc < 0 && !failed) {
		failed = what;
		failure = -rc;
	}
}

static void export(void)
{
	struct sock_filter insn;
	int fd = memfd_create("bpf", 0);

	if (!failed)
		check("export", seccomp_export_bpf(filter, fd));
	if (failed) {
		printf("error %s %s\n", failed, strerror(failure));
	} else {
		printf("ok");
		lseek(fd, 0, SEEK_SET);
		while (read(fd, &insn, sizeof insn) == sizeof insn)
			printf(" %u %u %u %u", insn.code, insn.jt, insn.jf, insn.k);
		printf("\n");
	}
	close(fd);
	fflush(stdout);
	alarm(0);
}

static void rule(void)
{
	struct scmp_arg_cmp args[6];
	char name[64];
	unsigned action, count, index, op;
	int number;

	if (scanf("%u %63s %u", &action, name, &count) != 3 || count > 6)
		exit(1);
	for (unsigned i = 0; i < count; i++) {
		if (scanf("%u %u %" SCNu64 " %" SCNu64, &index, &op, &args[i].datum_a, &args[i].datum_b) != 4)
			exit(1);
		args[i].arg = index;
		args[i].op = op;
	}
	number = seccomp_syscall_resolve_name(name);
	if (number != __NR_SCMP_ERROR)
		check("rule", seccomp_rule_add_array(filter, action, number, count, args));
}

int main(void)
{
	char command, word[64], name[64];
	unsigned action, optimize;
	int rc;

	while (scanf(" %c", &command) == 1) {
		switch (command) {
		case 'F':
			if (scanf("%u %u", &action, &optimize) != 2)
				return 1;
			/* some profiles it never finishes */
			alarm(10);
			if (filter)
				seccomp_release(filter);
			failed = NULL;
			filter = seccomp_init(action);
			check("optimize", seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, optimize));
			check("remove", seccomp_arch_remove(filter, seccomp_arch_native()));
			break;
		case 'A':
			if (scanf("%63s", word) != 1)
				return 1;
			rc = seccomp_arch_resolve_name(word) ? seccomp_arch_add(filter, seccomp_arch_resolve_name(word)) : -EINVAL;
			check("arch", rc == -EEXIST ? 0 : rc);
			break;
		case 'R':
			rule();
			break;
		case 'E':
			export();
			break;
		case 'N':
			if (scanf("%63s %63s", word, name) != 2)
				return 1;
			rc = __NR_SCMP_ERROR;
			if (seccomp_arch_resolve_name(word))
				rc = seccomp_syscall_resolve_name_arch(seccomp_arch_resolve_name(word), name);
			printf("%d\n", rc);
			fflush(stdout);
			break;
		default:
			return 1;
		}
	}
	return 0;
}
