// The kernels for any processor, in vectors of four.
#define VL 4
#define TARGET
#define TABLE sh_table_base
#define NAME "base"
#include "table.h"
