// The choice of the instruction set at run time.
#include "kernels.h"
#include <string.h>

const sh_table *sh_kernels = &sh_table_base;

const char *sh_choose(const char *most) {
	sh_kernels = &sh_table_base;
#if defined(__x86_64__)
	__builtin_cpu_init();
	int bound = most == NULL ? 2 : strcmp(most, "base") == 0 ? 0 : strcmp(most, "avx2") == 0 ? 1 : 2;
	if (bound >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		sh_kernels = &sh_table_avx2;
	if (bound >= 2 && sh_kernels == &sh_table_avx2 && __builtin_cpu_supports("avx512f"))
		sh_kernels = &sh_table_avx512;
#else
	(void)most;
#endif
	return sh_kernels->name;
}
