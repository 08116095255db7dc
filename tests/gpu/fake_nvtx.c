// What Nsight is to NVTX: a library that NVTX_INJECTION64_PATH names. It writes down each range that is pushed, indented by how deep it lies.
#include <nvtx3/nvToolsExt.h>
#include <string.h>

enum { SIZE = 1 << 16 };
static char text[SIZE];
static size_t used;
static int depth;

const char *fake_nvtx_text(void);
int fake_nvtx_depth(void);
void fake_nvtx_clear(void);
int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get);

const char *fake_nvtx_text(void) { return text; }
int fake_nvtx_depth(void) { return depth; } // negative: a pop without its push
void fake_nvtx_clear(void) { used = 0, text[0] = 0; }

static int push(const char *name) {
  size_t indent = 2 * (size_t)(depth > 0 ? depth : 0), len = strlen(name);
  if (used + indent + len + 2 <= SIZE) {
    memset(text + used, ' ', indent);
    memcpy(text + used + indent, name, len);
    used += indent + len;
    text[used++] = '\n';
    text[used] = 0;
  }
  return depth++;
}

static int pop(void) { return --depth; }

int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get) {
  const NvtxExportTableCallbacks *callbacks = get(NVTX_ETID_CALLBACKS);
  NvtxFunctionTable table = NULL;
  unsigned count = 0;
  if (!callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &count) || count <= NVTX_CBID_CORE_RangePop) return 0;
  *table[NVTX_CBID_CORE_RangePushA] = (NvtxFunctionPointer)push;
  *table[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)pop;
  return 1;
}
