/* Counts the A64 instructions that the guest's first thread executes, by class: a plugin for QEMU 9.1 or newer.
 *
 * A guest marks where counting begins and ends by getpgid(MARK): a call that fails and changes nothing. At each mark, and
 * at the end, one line of JSON goes to QEMU's log (-d plugin -D FILE). Other threads do not count: those of numpy's
 * library spin while they wait, and would add a number that follows the wall clock.
 *
 * Classes are rows of (mask, value), the first that fits counts; encodings after the Arm Architecture Reference Manual
 * for A-profile, "A64 instruction set encoding".
 */
#include <inttypes.h>
#include <stdio.h>
#include <glib.h>
#include <qemu-plugin.h>

#define GETPGID 155
#define MARK 0x0EDFEE75

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

enum class { DOT, MATMUL, WIDENING, FMA32, FMA16, VECTOR_MEMORY, MEMORY, SVE, VECTOR, SCALAR_FLOAT, BRANCH, OTHER, CLASSES };

static const char *const names[CLASSES] = {
    "dot", "matmul_int8", "widening_multiply", "fma_fp32", "fma_fp16", "vector_memory", "memory", "sve", "vector",
    "scalar_float", "branch", "other",
};

static const struct { uint32_t mask, value; enum class class; } rows[] = {
    {0x9F20FC00, 0x0E009400, DOT},          /* SDOT, UDOT (vector) */
    {0xBF20FC00, 0x0E009C00, DOT},          /* USDOT (vector) */
    {0x9F00F400, 0x0F00E000, DOT},          /* SDOT, UDOT (by element) */
    {0xBF00F400, 0x0F00F000, DOT},          /* USDOT, SUDOT (by element) */
    {0xFFE0F400, 0x4E80A400, MATMUL},       /* SMMLA, USMMLA */
    {0xFFE0F400, 0x6E80A400, MATMUL},       /* UMMLA */
    {0x9F20FC00, 0x0E208000, WIDENING},     /* SMLAL, UMLAL */
    {0x9F20FC00, 0x0E20A000, WIDENING},     /* SMLSL, UMLSL */
    {0x9F20FC00, 0x0E20C000, WIDENING},     /* SMULL, UMULL */
    {0x9F00F400, 0x0F002000, WIDENING},     /* the same three by element */
    {0x9F00F400, 0x0F006000, WIDENING},
    {0x9F00F400, 0x0F00A000, WIDENING},
    {0xBFA0FC00, 0x0E20CC00, FMA32},        /* FMLA (vector; single and double) */
    {0xBF80F400, 0x0F801000, FMA32},        /* FMLA (by element) */
    {0xBFE0FC00, 0x0E400C00, FMA16},
    {0xBFC0F400, 0x0F001000, FMA16},
    {0x0E000000, 0x0C000000, VECTOR_MEMORY},/* loads and stores, of vectors by bit 26 */
    {0x0E000000, 0x04000000, SVE},
};

typedef struct { uint64_t by_class[CLASSES]; } Counts;
static struct qemu_plugin_scoreboard *board;

static enum class class_of(uint32_t code)
{
    uint32_t group = (code >> 25) & 15;
    for (size_t row = 0; row < G_N_ELEMENTS(rows); row++)
        if ((code & rows[row].mask) == rows[row].value)
            return rows[row].class;
    if ((group & 5) == 4)
        return MEMORY;
    if ((group & 7) == 7)
        return (code & 0x5E000000) == 0x1E000000 ? SCALAR_FLOAT : VECTOR;
    return (group & 14) == 10 ? BRANCH : OTHER;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    uint64_t here[CLASSES] = {0};
    for (size_t place = 0; place < qemu_plugin_tb_n_insns(block); place++) {
        uint32_t code = 0;
        qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, place), &code, sizeof code);
        here[class_of(code)]++;
    }
    for (int class = 0; class < CLASSES; class++)
        if (here[class])
            qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
                block, QEMU_PLUGIN_INLINE_ADD_U64,
                qemu_plugin_scoreboard_u64_in_struct(board, Counts, by_class[class]), here[class]);
}

static void say(void)
{
    g_autoptr(GString) line = g_string_new("{");
    for (int class = 0; class < CLASSES; class++)
        g_string_append_printf(line, "%s\"%s\": %" PRIu64, class ? ", " : "", names[class],
            qemu_plugin_u64_get(qemu_plugin_scoreboard_u64_in_struct(board, Counts, by_class[class]), 0));
    g_string_append(line, "}\n");
    qemu_plugin_outs(line->str);
}

static void on_call(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t first, uint64_t a2, uint64_t a3,
                    uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (vcpu == 0 && number == GETPGID && first == MARK)
        say();
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    board = qemu_plugin_scoreboard_new(sizeof(Counts));
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
