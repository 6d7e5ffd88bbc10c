#include "trace/trace-hw_cmp.h"
