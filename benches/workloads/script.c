/* A small scripting language in the manner of Lua: text to a tree of closures, values with a tag, tables that hash. */
#include "work.h"

/* ---- values and tables ---- */
enum tag { NIL, NUMBER, TABLE, FUNCTION };
struct value { enum tag tag; union { double number; struct table *table; struct function *function; }; };
struct table { struct value *keys, *values; unsigned size, used; };
static struct value nil(void) { return (struct value){.tag = NIL}; }
static struct value number(double n) { return (struct value){.tag = NUMBER, .number = n}; }
static int equal(struct value a, struct value b) {
    if (a.tag != b.tag) return 0;
    return a.tag == NUMBER ? a.number == b.number : a.tag == NIL || a.table == b.table;
}
static unsigned hash(struct value key) {
    uint64_t bits = (uintptr_t)key.table;
    if (key.tag == NUMBER) memcpy(&bits, &key.number, sizeof bits);
    return (bits ^ bits >> 32) * 0x9e3779b97f4a7c15u >> 40;
}

/* Everything lives until the end of a run. */
static char *heap;
static size_t taken;
enum { HEAP = 8 << 20 };
static void *take(size_t size) {
    size = (size + 15) & ~(size_t)15;
    if (taken + size > HEAP) abort();
    taken += size;
    return memset(heap + taken - size, 0, size);
}
static struct value *slot(struct table *t, struct value key) {
    unsigned at = hash(key) & (t->size - 1);
    while (t->keys[at].tag != NIL && !equal(t->keys[at], key)) at = (at + 1) & (t->size - 1);
    return t->values + at;
}
static struct value get(struct table *t, struct value key) { return t->size ? *slot(t, key) : nil(); }
static void set(struct table *t, struct value key, struct value to) {
    if (2 * t->used >= t->size) {
        struct table old = *t;
        t->size = old.size ? 2 * old.size : 8;
        t->keys = take(t->size * sizeof *t->keys), t->values = take(t->size * sizeof *t->values);
        for (unsigned n = 0; n < old.size; n++)
            if (old.keys[n].tag != NIL) {
                struct value *to_slot = slot(t, old.keys[n]);
                t->keys[to_slot - t->values] = old.keys[n], *to_slot = old.values[n];
            }
    }
    struct value *place = slot(t, key);
    if (t->keys[place - t->values].tag == NIL) t->keys[place - t->values] = key, t->used++;
    *place = to;
}

/* ---- a tree whose nodes know how to run themselves ---- */
enum { NAMES = 26 };
struct node { struct value (*run)(struct node *, struct value *); struct node *a, *b, *c, *next; double number; int name; };
struct function { struct node *body; int parameters; char names[4]; };
static struct value globals[NAMES];
static struct { struct value value; int set; } returned;
#define RUN(of) ((of)->run((of), locals))
static struct value variable(int name, struct value *locals) {
    return locals && locals[name].tag != NIL ? locals[name] : globals[name];
}
#define NODE(name) static struct value name(struct node *n, struct value *locals)
NODE(run_number) { (void)locals; return number(n->number); }
NODE(run_name) { return variable(n->name, locals); }
NODE(run_new) { (void)n, (void)locals; return (struct value){.tag = TABLE, .table = take(sizeof(struct table))}; }
NODE(run_add) { return number(RUN(n->a).number + RUN(n->b).number); }
NODE(run_subtract) { return number(RUN(n->a).number - RUN(n->b).number); }
NODE(run_multiply) { return number(RUN(n->a).number * RUN(n->b).number); }
NODE(run_remainder) { int64_t a = RUN(n->a).number, b = RUN(n->b).number; return number(b ? a % b : 0); }
NODE(run_less) { return number(RUN(n->a).number < RUN(n->b).number); }
NODE(run_same) { return number(equal(RUN(n->a), RUN(n->b))); }
NODE(run_index) { struct value t = RUN(n->a); return t.tag == TABLE ? get(t.table, RUN(n->b)) : nil(); }
NODE(run_call) {
    struct value f = variable(n->name, locals), frame[NAMES] = {{0}};
    if (f.tag != FUNCTION) return nil();
    int at = 0;
    for (struct node *argument = n->a; argument; argument = argument->next)
        if (at < f.function->parameters) frame[f.function->names[at++] - 'a'] = RUN(argument);
    for (struct node *s = f.function->body; s && !returned.set; s = s->next) s->run(s, frame);
    returned.set = 0;
    struct value result = returned.value;
    returned.value = nil();
    return result;
}
static int truth(struct value v) { return v.tag != NIL && !(v.tag == NUMBER && v.number == 0); }
NODE(run_let) { struct value v = RUN(n->a); return (locals ? locals : globals)[n->name] = v; }
NODE(run_store) {
    struct value t = RUN(n->a), key = RUN(n->b), to = RUN(n->c);
    if (t.tag == TABLE) set(t.table, key, to);
    return to;
}
NODE(run_return) { returned.value = RUN(n->a), returned.set = 1; return returned.value; }
NODE(run_if) {
    if (truth(RUN(n->a)))
        for (struct node *s = n->b; s && !returned.set; s = s->next) RUN(s);
    else
        for (struct node *s = n->c; s && !returned.set; s = s->next) RUN(s);
    return nil();
}
NODE(run_while) {
    while (!returned.set && truth(RUN(n->a)))
        for (struct node *s = n->b; s && !returned.set; s = s->next) RUN(s);
    return nil();
}
NODE(run_function) { (void)locals; return globals[n->name] = (struct value){.tag = FUNCTION, .function = (void *)n->a}; }

/* ---- text to tree: names are one letter, statements end with ';' ---- */
static const char *text;
static char peek(void) { while (*text == ' ' || *text == '\n') text++; return *text; }
static int take_char(char c) { return peek() == c ? text++, 1 : 0; }
static void expect(char c) { if (!take_char(c)) abort(); }
static struct node *make(struct value (*run)(struct node *, struct value *), struct node *a, struct node *b) {
    struct node *n = take(sizeof *n);
    n->run = run, n->a = a, n->b = b;
    return n;
}
static struct node *expression(void);
static struct node *primary(void) {
    struct node *n;
    char c = peek();
    if (c >= '0' && c <= '9') {
        n = make(run_number, NULL, NULL);
        n->number = strtod(text, (char **)&text);
    } else if (take_char('(')) {
        n = expression();
        expect(')');
    } else if (take_char('{')) {
        expect('}');
        n = make(run_new, NULL, NULL);
    } else {
        text++;
        n = make(run_name, NULL, NULL);
        n->name = c - 'a';
        if (take_char('(')) {
            n->run = run_call;
            struct node **last = &n->a;
            while (!take_char(')')) {
                *last = make(run_add, expression(), make(run_number, NULL, NULL));
                last = &(*last)->next;
                take_char(',');
            }
        }
    }
    while (take_char('[')) {
        n = make(run_index, n, expression());
        expect(']');
    }
    return n;
}
static struct node *product(void) {
    struct node *n = primary();
    for (;;)
        if (take_char('*')) n = make(run_multiply, n, primary());
        else if (take_char('%')) n = make(run_remainder, n, primary());
        else return n;
}
static struct node *sum(void) {
    struct node *n = product();
    for (;;)
        if (take_char('+')) n = make(run_add, n, product());
        else if (take_char('-')) n = make(run_subtract, n, product());
        else return n;
}
static struct node *expression(void) {
    struct node *n = sum();
    if (take_char('<')) return make(run_less, n, sum());
    if (take_char('~')) return make(run_same, n, sum());
    return n;
}
static struct node *block(void);
static struct node *statement(void) {
    struct node *n;
    if (take_char('?')) { /* ? condition { then } { otherwise } */
        n = make(run_if, expression(), NULL);
        n->b = block(), n->c = block();
        return n;
    }
    if (take_char('@')) { /* @ condition { again } */
        n = make(run_while, expression(), NULL);
        n->b = block();
        return n;
    }
    if (take_char('!')) { /* ! name (parameters) { body } */
        struct function *f = take(sizeof *f);
        n = make(run_function, (struct node *)f, NULL);
        n->name = peek() - 'a', text++;
        for (expect('('); !take_char(')'); text++) f->names[f->parameters++] = peek();
        f->body = block();
        return n;
    }
    if (take_char('^')) n = make(run_return, expression(), NULL);
    else {
        struct node *to = primary();
        if (take_char('=')) {
            n = to->run == run_index ? make(run_store, to->a, to->b) : make(run_let, NULL, NULL);
            n->name = to->name;
            *(to->run == run_index ? &n->c : &n->a) = expression();
        } else n = to;
    }
    expect(';');
    return n;
}
static struct node *statements(char end) {
    struct node *first = NULL, **last = &first;
    while (peek() && peek() != end) *last = statement(), last = &(*last)->next;
    return first;
}
static struct node *block(void) {
    expect('{');
    struct node *n = statements('}');
    expect('}');
    return n;
}

/* Recursion, a sieve in a table, and chains of collisions. */
static const char program[] =
    "!f(n) { ? n < 2 { ^n; } {} ^f(n - 1) + f(n - 2); }"
    "!s(n) { t = {}; i = 2; c = 0; @ i < n { ? t[i] ~ 1 {} { c = c + 1; j = i * i; @ j < n { t[j] = 1; j = j + i; } }"
    " i = i + 1; } ^c; }"
    "!w(n) { t = {}; l = 0; i = 1; @ i < n { x = i; k = 0; @ 1 < x { ? x % 2 ~ 0 { x = x * 0.5; } { x = x * 3 + 1; }"
    " k = k + 1; } t[k] = i; ? l < k { l = k; } {} i = i + 1; } ^l * 1000 + t[l] % 1000; }"
    "r = f(22) * 1000000 + s(25000) * 100 + w(2500);";

static uint64_t script(void) {
    if (!heap) heap = malloc(HEAP);
    taken = 0;
    memset(globals, 0, sizeof globals);
    returned.set = 0, returned.value = nil();
    text = program;
    for (struct node *n = statements(0); n; n = n->next) n->run(n, NULL);
    return (uint64_t)globals['r' - 'a'].number;
}

const struct work script_works[] = {{"lua-like", NULL, script, NULL}, {NULL, NULL, NULL, NULL}};
