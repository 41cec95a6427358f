/* Reads an exported model and tokenizer with llm.c's own functions, runs its forward pass, and writes what came of it.
 *
 *   cc -O2 -I LLMC assets/interop/llmc_logits.c -lm -o llmc_logits      LLMC: a clone of llm.c
 *   llmc_logits MODEL TOKENIZER LOGITS TOKENS < IDS
 *
 * IDS: a count and as many ids. LOGITS: f32, a row of the vocabulary (without padding) for each id. TOKENS: the id of the
 * end of a text, then each token's text in hexadecimal, up to its first zero byte, a line each.
 */
#define TESTING
#include "train_gpt2.c"

int main(int argc, char **argv) {
    if (argc != 5) { fprintf(stderr, "usage: llmc_logits MODEL TOKENIZER LOGITS TOKENS < IDS\n"); return 2; }
    GPT2 model;
    gpt2_build_from_checkpoint(&model, argv[1]);
    int n = 0;
    if (scanf("%d", &n) != 1 || n < 1) { fprintf(stderr, "IDS has no count\n"); return 2; }
    int *ids = mallocCheck(n * sizeof(int));
    for (int i = 0; i < n; i++) {
        if (scanf("%d", &ids[i]) != 1) { fprintf(stderr, "IDS has fewer ids than it says\n"); return 2; }
    }
    gpt2_forward(&model, ids, NULL, 1, n);
    FILE *out = fopenCheck(argv[3], "wb");
    for (int i = 0; i < n; i++) {
        float *row = model.acts.logits + (size_t)i * model.config.padded_vocab_size;
        fwrite(row, sizeof(float), model.config.vocab_size, out);
    }
    fcloseCheck(out);

    Tokenizer tokenizer;
    tokenizer_init(&tokenizer, argv[2]);
    out = fopenCheck(argv[4], "w");
    fprintf(out, "%d\n", tokenizer.eot_token);
    for (uint32_t id = 0; id < tokenizer.vocab_size; id++) {
        for (const char *c = tokenizer_decode(&tokenizer, id); *c; c++) { fprintf(out, "%02x", (unsigned char)*c); }
        fprintf(out, "\n");
    }
    fcloseCheck(out);
    return 0;
}
