// Layers by operations, coloured by the NMSE's power of ten: a self-contained SVG for light and dark pages.
#include "driver/compare.h"
#include "driver/origin.h"
#include "runtime/base/file.h"
#include <math.h>
#include <stdlib.h>

enum {
  LEFT = 96,
  TOP = 96,
  CELL_WIDTH = 92,
  CELL_HEIGHT = 24,
  GAP = 12,
  COLUMNS = POINT_MLP_OUT - POINT_QUERY + 1,
  LEGEND = 64
};

static const double least_power = -16, largest_power = 0; // of ten

// Blue, teal, yellow, red: readable for the colour-blind, dark text on every shade.
static void colour(double nmse, char out[8]) {
  static const double stops[][3] = {{158, 188, 238}, {140, 214, 196}, {247, 222, 120}, {240, 130, 100}};
  enum { LAST = sizeof stops / sizeof *stops - 1 };
  double power = nmse > 0 ? log10(nmse) : least_power;
  double t = (fmin(fmax(power, least_power), largest_power) - least_power) / (largest_power - least_power) * LAST;
  int i = t >= LAST ? LAST - 1 : (int)t, rgb[3];
  for (int k = 0; k < 3; k++) rgb[k] = (int)lround(stops[i][k] + (t - i) * (stops[i + 1][k] - stops[i][k]));
  snprintf(out, 8, "#%02x%02x%02x", rgb[0] & 255, rgb[1] & 255, rgb[2] & 255);
}

// The point of the whole pass before the layers has a row above them, those after them one below.
static void place(const struct compare_line *l, int32_t layers, int *x, int *y) {
  int row = l->layer, column = (int)l->point - POINT_QUERY, shift = GAP;
  if (l->point == POINT_EMBED) row = -1, column = 0, shift = 0;
  if (l->point == POINT_NORM || l->point == POINT_LOGITS)
    row = layers, column = (int)l->point - POINT_NORM, shift = 2 * GAP;
  *x = LEFT + column * CELL_WIDTH;
  *y = TOP + (row + 1) * CELL_HEIGHT + shift;
}

static void draw_cell(FILE *f, const struct compare_line *l, int32_t layers) {
  char fill[8] = "#222222", name[COMPARE_NAME], text[16] = "NaN";
  int x, y;
  place(l, layers, &x, &y);
  if (!l->cell->num_bad) {
    colour(l->nmse, fill);
    if (l->nmse == 0) snprintf(text, sizeof text, "0");
    else snprintf(text, sizeof text, "%.0e", l->nmse);
  }
  bool whole = !compare_point_in_layer(l->point);
  fprintf(f,
          "<g><title>%s: NMSE %.3g, gate %.3g</title><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"3\" "
          "fill=\"%s\"%s/>",
          compare_line_name(l, name), l->nmse, l->gate, x + 1, y + 1, CELL_WIDTH - 2, CELL_HEIGHT - 2, fill,
          l->passes ? "" : " stroke=\"#c00000\" stroke-width=\"3\"");
  fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"v\"%s>%s%s%s</text></g>\n", x + CELL_WIDTH / 2, y + 16,
          l->cell->num_bad ? " fill=\"#ffffff\"" : "", whole ? compare_point_names[l->point] : "", whole ? " " : "",
          text);
}

static void draw_text(FILE *f, const char *text) {
  for (; *text; text++) switch (*text) {
    case '<': fputs("&lt;", f); break;
    case '>': fputs("&gt;", f); break;
    case '&': fputs("&amp;", f); break;
    default: fputc((unsigned char)*text < 32 ? ' ' : *text, f);
    }
}

static void draw_heads(FILE *f, const struct compare *c) {
  static const char *const heads[COLUMNS] = {"query",         "keys",   "values", "attention",
                                             "attention_out", "mlp_in", "mlp_out"};
  char a[COMPARE_NAME], b[COMPARE_NAME];
  fprintf(f, "<text x=\"12\" y=\"28\" class=\"t\">%s against %s, layer by operation: NMSE</text>\n",
          compare_backend_name(c->lockstep->b, b), compare_backend_name(c->lockstep->a, a));
  fprintf(f, "<text x=\"12\" y=\"50\" class=\"s\">%lld tokens, feed %s; red frames are past their gate: ",
          (long long)c->ids.count, c->options->feed == FEED_REFERENCE ? "reference" : "own");
  draw_text(f, origin_model(c->en.model.path));
  fprintf(f, "</text>\n<text x=\"%d\" y=\"%d\" class=\"h\">attention_in</text>\n", LEFT + CELL_WIDTH * 3 / 2, TOP - 24);
  for (int i = 0; i < COLUMNS; i++)
    fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"h\">%s</text>\n", LEFT + i * CELL_WIDTH + CELL_WIDTH / 2, TOP - 8,
            heads[i]);
  for (int32_t i = 0; i < c->en.model.config.num_layers; i++)
    fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"l\">layer %d</text>\n", LEFT - 10,
            TOP + (i + 1) * CELL_HEIGHT + GAP + 16, i);
}

static void draw_legend(FILE *f, int y) {
  enum { STEPS = 17 };
  for (int i = 0; i < STEPS; i++) {
    char fill[8];
    double power = least_power + i;
    colour(pow(10, power), fill);
    fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"38\" height=\"14\" fill=\"%s\"/>", LEFT + i * 38, y, fill);
    if (i % 4 == 0) fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"h\">1e%.0f</text>", LEFT + i * 38 + 19, y + 30, power);
  }
  fputc('\n', f);
}

static void draw(FILE *f, const struct compare *c, const struct compare_line *lines, int64_t count) {
  int32_t layers = c->en.model.config.num_layers;
  int width = LEFT + COLUMNS * CELL_WIDTH + 16, bottom = TOP + (layers + 2) * CELL_HEIGHT + 2 * GAP,
      height = bottom + LEGEND;
  fprintf(f,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" "
          "aria-label=\"error of each operation of each layer\">\n",
          width, height, width, height);
  fputs("<style>text{font-family:sans-serif;fill:#1a1a1a}.t{font-size:17px;font-weight:bold}.s{font-size:13px}.h{font-"
        "size:12px;text-anchor:middle}"
        ".l{font-size:12px;text-anchor:end}.v{font-size:12px;text-anchor:middle;fill:#1a1a1a}.p{fill:#ffffff}"
        "@media(prefers-color-scheme:dark){text{fill:#e8e8e8}.p{fill:#16181c}.v{fill:#1a1a1a}}</style>\n",
        f);
  fprintf(f, "<rect class=\"p\" width=\"%d\" height=\"%d\"/>\n", width, height);
  draw_heads(f, c);
  for (int64_t i = 0; i < count; i++) draw_cell(f, &lines[i], layers);
  draw_legend(f, bottom + 16);
  fputs("</svg>\n", f);
}

bool compare_write_heatmap(const struct compare *c, const struct compare_line *lines, int64_t count, const char *path,
                           struct err *e) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&text, &size);
  if (!f) return err_no_memory(e, 0, "the heat map");
  draw(f, c, lines, count);
  bool drawn = !ferror(f);
  bool ok = (fclose(f) == 0 && drawn) ? file_write(path, text, size, e) : err_no_memory(e, size, "the heat map");
  free(text);
  return ok;
}
