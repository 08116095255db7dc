// A model is opened, and when that succeeds every number in it is read.
#pragma once

// An error must begin with `begins`. True when it opened.
bool fuzz_model(const char *path, const char *begins);
