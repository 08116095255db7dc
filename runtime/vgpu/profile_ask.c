// Who wants launches recorded: the environment (VGPU_PROFILE), or a program that asks while it runs.
#include "runtime/vgpu/api.h"
#include "runtime/vgpu/profile.h"
#include <stdio.h>
#include <stdlib.h>

static struct vgpu_profile *of_environment, *of_program; // under the API's lock
static bool environment_read, recording;
static char *text; // of the launch last asked for

static struct vgpu_profile *environment_profile(void) {
  if (environment_read) return of_environment;
  const char *error = NULL;
  of_environment = vgpu_profile_open(&error);
  environment_read = true;
  if (error) fprintf(stderr, "vgpu: %s\n", error);
  return of_environment;
}

struct vgpu_profile *vgpu_profile_current(void) { return recording ? of_program : environment_profile(); }

void vgpu_profile_shutdown(void) {
  if (of_environment && !vgpu_profile_close(of_environment)) fprintf(stderr, "vgpu: VGPU_PROFILE: the file could not be written\n");
  vgpu_profile_close(of_program);
  free(text);
  of_environment = of_program = NULL, text = NULL, recording = false;
}

int vgpuProfileStart(const char *configs, unsigned long long sample) {
  struct vg_call c __attribute__((cleanup(vg_leave), unused)) = vg_enter(NULL, VG_NOTHING);
  vgpu_profile_close(of_program);
  of_program = vgpu_profile_open_with(NULL, configs, sample);
  return recording = of_program != NULL;
}

void vgpuProfileStop(void) {
  struct vg_call c __attribute__((cleanup(vg_leave), unused)) = vg_enter(NULL, VG_NOTHING);
  recording = false;
}

unsigned long long vgpuProfileCount(void) {
  struct vg_call c __attribute__((cleanup(vg_leave), unused)) = vg_enter(NULL, VG_NOTHING);
  return of_program ? vgpu_profile_count(of_program) : 0;
}

const char *vgpuProfileLaunch(unsigned long long i) {
  struct vg_call c __attribute__((cleanup(vg_leave), unused)) = vg_enter(NULL, VG_NOTHING);
  size_t length;
  free(text);
  text = NULL;
  if (!of_program || i >= vgpu_profile_count(of_program)) return NULL;
  FILE *f = open_memstream(&text, &length);
  if (!f) return NULL;
  vgpu_profile_put(f, of_program, i);
  bool ok = !ferror(f);
  if (fclose(f) == 0 && ok) return text;
  free(text);
  return text = NULL;
}
