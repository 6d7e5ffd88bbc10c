#include "trace/trace-hw_sdb.h"
