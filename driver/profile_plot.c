// The roofline plot: a plain SVG, drawn here so that the program needs no other. Horizontal: operations per byte of DRAM; vertical: TFLOP/s; both
// logarithmic. A kernel below a roof could be faster by as much as it is lower.
#include "driver/profile.h"
#include "driver/origin.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 960, HEIGHT = 620, LEFT = 80, RIGHT = 250, TOP = 70, BOTTOM = 70, MOST_POINTS = 64 };
static const double least_x = 0.1, most_x = 4096, least_y = 0.01, most_y = 100;
static const char *const colours[] = {"#D55E00", "#0072B2"}; // prefill, decode: apart for colour-blind eyes too (Okabe and Ito)

static double at_x(double v) { return LEFT + (WIDTH - LEFT - RIGHT) * log(fmin(fmax(v, least_x), most_x) / least_x) / log(most_x / least_x); }
static double at_y(double v) { return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * log(fmin(fmax(v, least_y), most_y) / least_y) / log(most_y / least_y); }

static void text(FILE *f, double x, double y, const char *attributes, const char *words) {
  fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
  for (; *words; words++) {
    if (*words == '<') fputs("&lt;", f);
    else if (*words == '&') fputs("&amp;", f);
    else fputc(*words, f);
  }
  fputs("</text>\n", f);
}

static void draw_grid(FILE *f) {
  char label[32];
  for (double x = least_x; x <= most_x; x *= 10) {
    fprintf(f, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#e3e3e3\"/>\n", at_x(x), TOP, at_x(x), HEIGHT - BOTTOM);
    snprintf(label, sizeof label, "%g", x);
    text(f, at_x(x), HEIGHT - BOTTOM + 20, "text-anchor=\"middle\"", label);
  }
  for (double y = least_y; y <= 1.01 * most_y; y *= 10) {
    fprintf(f, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#e3e3e3\"/>\n", LEFT, at_y(y), WIDTH - RIGHT, at_y(y));
    snprintf(label, sizeof label, "%g", y);
    text(f, LEFT - 8, at_y(y) + 4, "text-anchor=\"end\"", label);
  }
  text(f, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 22, "text-anchor=\"middle\"", "operations per byte of DRAM");
  fprintf(f, "<text transform=\"translate(24 %.1f) rotate(-90)\" text-anchor=\"middle\">TFLOP/s</text>\n", (TOP + HEIGHT - BOTTOM) / 2.0);
}

static void draw_roof(FILE *f, const struct roof_lines *r, bool dashed) {
  double knee = r->operations / r->bytes, start = fmax(least_x, least_y * 1e12 / r->bytes);
  char label[96];
  fprintf(f, "<polyline points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f\" fill=\"none\" stroke=\"#333\" stroke-width=\"1.6\"%s/>\n", at_x(start), at_y(start * r->bytes * 1e-12),
          at_x(knee), at_y(r->operations * 1e-12), at_x(most_x), at_y(r->operations * 1e-12), dashed ? " stroke-dasharray=\"6 4\"" : "");
  snprintf(label, sizeof label, "T4, %s: %.0f TFLOP/s, %.0f GB/s", r->name, r->operations * 1e-12, r->bytes * 1e-9);
  text(f, at_x(most_x) - 4, at_y(r->operations * 1e-12) + (dashed ? 16 : -7), "text-anchor=\"end\" font-size=\"12\"", label);
}

// What is drawn: a row with operations.
struct point {
  double x, y, share;
  bool decode;
  char label[80];
};

static int by_share(const void *a, const void *b) {
  const struct point *p = a, *q = b;
  return p->decode != q->decode ? p->decode - q->decode : (p->share < q->share) - (p->share > q->share);
}

static int32_t make_points(const struct profile *p, const struct profile_rows *r, struct point *out, int32_t most) {
  int32_t n = 0;
  for (int32_t i = 0; i < r->count && n < most; i++) {
    const struct profile_row *row = &r->rows[i];
    double bytes = p->estimate ? row->moved : row->ideal.bytes;
    if (row->ideal.operations <= 0 || bytes <= 0 || row->us <= 0) continue;
    struct point *to = &out[n++];
    *to = (struct point){row->ideal.operations / bytes, row->ideal.operations / row->us * 1e-6, row->us / profile_total(r, row->decode).us, row->decode, ""};
    snprintf(to->label, sizeof to->label, to->share < 0.005 ? "%s (%s), < 1 %%" : "%s (%s), %.0f %%", profile_op_names[row->op], gpu_kernel_name(row->kernel) + strlen("phi3_"),
             100 * to->share);
  }
  qsort(out, (size_t)n, sizeof *out, by_share);
  return n;
}

struct place {
  double x, y;
};

// Numbers keep off each other: kernels of one step lie close together.
static struct place free_place(const struct point *q, const struct place *taken, int32_t count) {
  static const struct place away[] = {{0, 0}, {26, -14}, {26, 8}, {-26, -14}, {-26, 8}, {44, -3}, {-44, -3}, {26, -32}, {26, 26}, {-26, -32}, {-26, 26}, {62, -20}};
  struct place p = {0, 0};
  for (size_t i = 0; i < sizeof away / sizeof *away; i++) {
    bool clear = true;
    p = (struct place){at_x(q->x) + away[i].x, at_y(q->y) + away[i].y};
    for (int32_t j = 0; j < count && clear; j++) clear = fabs(p.x - taken[j].x) > 17 || fabs(p.y - taken[j].y) > 12;
    if (clear) break;
  }
  return p;
}

static void draw_numbers(FILE *f, const struct point *points, int32_t n) {
  struct place taken[MOST_POINTS];
  for (int32_t i = 0; i < n; i++) {
    struct place p = taken[i] = free_place(&points[i], taken, i);
    char number[16];
    fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#999\" stroke-width=\"0.7\"/>\n", at_x(points[i].x), at_y(points[i].y), p.x, p.y);
    snprintf(number, sizeof number, "%d", i + 1);
    text(f, p.x, p.y + 4, "text-anchor=\"middle\" font-size=\"11\" font-weight=\"bold\" stroke=\"white\" stroke-width=\"3\" paint-order=\"stroke\"", number);
  }
}

// The words stand beside the plot.
static void draw_points(FILE *f, const struct profile *p, const struct point *points, int32_t n) {
  double y = TOP + 10;
  for (int32_t i = 0; i < n; i++) {
    const struct point *q = &points[i];
    char label[100];
    if (i == 0 || q->decode != points[i - 1].decode) {
      snprintf(label, sizeof label, q->decode ? "Decode step" : "Prefill of %lld tokens", (long long)p->prompt_tokens);
      y += i ? 14 : 0;
      fprintf(f, "<g fill=\"%s\" font-weight=\"bold\">", colours[q->decode]);
      text(f, WIDTH - RIGHT + 14, y, "", label);
      fprintf(f, "</g>\n");
      y += 18;
    }
    fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\" fill-opacity=\"0.45\" stroke=\"%s\"/>\n", at_x(q->x), at_y(q->y), 5 + 14 * sqrt(q->share),
            colours[q->decode], colours[q->decode]);
    snprintf(label, sizeof label, "%d  %s", i + 1, q->label);
    text(f, WIDTH - RIGHT + 14, y, "font-size=\"10.5\"", label);
    y += 16;
  }
}

static void draw(FILE *f, const struct profile *p, const struct profile_rows *r) {
  struct point points[MOST_POINTS];
  int32_t n = make_points(p, r, points, MOST_POINTS);
  char title[300];
  fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n", WIDTH, HEIGHT,
          WIDTH, HEIGHT);
  fprintf(f, "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n", WIDTH, HEIGHT);
  snprintf(title, sizeof title, "%s: kernels under the roofs of a Tesla T4", origin_model(p->engine->model.path));
  text(f, LEFT, 28, "font-size=\"17\" font-weight=\"bold\"", title);
  snprintf(title, sizeof title, "%s; a circle's area grows with the kernel's share of its phase's time",
           p->estimate ? "estimated by the virtual GPU, not measured" : "measured between events; bytes are the least possible");
  text(f, LEFT, 50, "fill=\"#555\"", title);
  draw_grid(f);
  for (int i = 0; i < T4_ROOFS; i++)
    if (p->estimate || strstr(p->device, "T4")) draw_roof(f, &t4_roofs[i], i > 0);
  draw_points(f, p, points, n);
  draw_numbers(f, points, n);
  fprintf(f, "</svg>\n");
}

bool profile_write_roofline(const struct profile *p, const struct profile_rows *r, const char *path, struct err *e) {
  char *svg = NULL;
  size_t length = 0;
  FILE *f = open_memstream(&svg, &length);
  if (!f) return err_no_memory(e, 0, "the plot");
  draw(f, p, r);
  bool whole = !ferror(f);
  whole = fclose(f) == 0 && whole;
  bool ok = whole ? file_write(path, svg, length, e) : err_no_memory(e, 0, "the plot");
  free(svg);
  return ok;
}
