// phi3: the command line. Each subcommand is a file of its own.
#include "driver/driver.h"
#include <stdio.h>
#include <string.h>

static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *help;
} commands[] = {
    {"generate", cmd_generate, "continue a text"},
    {"chat", cmd_chat, "a dialogue"},
    {"trace", cmd_trace, "walk one token through the model, stage by stage"},
    {"compare", cmd_compare, "run two backends in lockstep and name the operation that differs"},
    {"perplexity", cmd_perplexity, "how well a model predicts a text, and how far that is from a saved run"},
    {"bench", cmd_bench, "time generation with the key-value cache and without"},
    {"profile", cmd_profile, "where the time of prefill and decode goes, kernel by kernel"},
    {"synth", cmd_synth, "write a random checkpoint of any shape"},
    {"tokenize", cmd_tokenize, "text to ids and back"},
    {"inspect", cmd_inspect, "what a model file holds"},
};

enum { NUM_COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *f) {
  fprintf(f, "Usage: phi3 COMMAND [options]\n\nRuns Phi-3 and models of its block, and shows what happens "
             "inside.\n\nCommands:\n");
  for (int i = 0; i < NUM_COMMANDS; i++) fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].help);
  fprintf(f, "\nphi3 COMMAND --help shows a command's options with examples.\n\n"
             "Example:\n  phi3 generate -p \"The capital of France is\" -n 8\n\n"
             "Exit codes: 0 success, 1 failure, 2 wrong usage.\n");
}

static int run(int argc, char **argv) {
  const char *name = argv[1];
  if (strcmp(name, "help") == 0 && argc > 2) return run(3, (char *[]){argv[0], argv[2], "--help", NULL});
  if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "help") == 0)
    return print_help(stdout), EXIT_OK;
  if (strcmp(name, "--version") == 0) return puts("phi3 " PHI3_VERSION), EXIT_OK;
  for (int i = 0; i < NUM_COMMANDS; i++)
    if (strcmp(name, commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
  fprintf(stderr, "phi3: there is no command '%s'; see phi3 --help\n", name);
  return EXIT_USAGE;
}

int main(int argc, char **argv) {
  if (argc < 2) return print_help(stderr), EXIT_USAGE;
  int code = run(argc, argv);
  if ((fflush(stdout) == 0 && !ferror(stdout)) || code != EXIT_OK) return code; // a failure has had its sentence
  fprintf(stderr, "phi3 %s: cannot write to standard output\n", argv[1]);
  return EXIT_FAILED;
}
