#include "driver/driver.h"
int cmd_perplexity(int a, char **b) { (void)a; (void)b; return 0; }
