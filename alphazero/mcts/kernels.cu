// `tree.select`, `tree.expand` and `tree.backup` on a GPU: each thread takes one tree, whole walks at a time.
//
// They do what `kernels.py` does on the CPU, in the same order and in float32; the formulas are explained there and in
// `gumbel` and `puct`. `cuda_kernels.py` compiles them for trees of WIDTH actions.
// Arrays of trees are [batch, nodes, WIDTH] or [batch, nodes], see `tree.Tree`; all others [batch] or [batch, WIDTH].

#define GUMBEL 0
#define ILLEGAL -3.402823466e+38f
#define TINY 1e-8f

__device__ static int argmax(const float *x) {
    int best = 0;
    for (int a = 1; a < WIDTH; a++)
        if (x[a] > x[best]) best = a;
    return best;
}

__device__ static float most(const int *visits) {
    int found = visits[0];
    for (int a = 1; a < WIDTH; a++) found = visits[a] > found ? visits[a] : found;
    return (float)found;
}

// Completed Q of every action of a node into `out`. Equations 10 and 33 of Danihelka et al.
__device__ static void complete_q(
    const float *prior, const int *visits, const float *q, float raw_value, int total, float *out) {
    float mass = 0, weighted = 0;
    for (int a = 0; a < WIDTH; a++) {
        mass += visits[a] > 0 ? prior[a] : 0.0f;
        weighted += prior[a] * q[a];
    }
    float mixed = mass > 0 ? (raw_value + (float)total * (weighted / mass)) / (float)(total + 1) : raw_value;
    for (int a = 0; a < WIDTH; a++) out[a] = visits[a] > 0 ? q[a] : mixed;
}

// Maps q to [0, 1] between the least and the greatest of the legal actions, in place.
__device__ static void stretch(const float *logits, float *q) {
    float low = -ILLEGAL, high = ILLEGAL;
    for (int a = 0; a < WIDTH; a++)
        if (logits[a] != ILLEGAL) low = fminf(low, q[a]), high = fmaxf(high, q[a]);
    for (int a = 0; a < WIDTH; a++) q[a] = (q[a] - low) / fmaxf(high - low, TINY);
}

// The root's action of sequential halving: the best of those with `target` visits.
__device__ static int halving_action(
    const float *logits, const float *prior, const int *visits, const float *q, float raw_value, int total,
    const float *gumbel, int target, float c_visit, float c_scale, int rescale, float *score) {
    complete_q(prior, visits, q, raw_value, total, score);
    if (rescale) stretch(logits, score);
    float scale = (c_visit + most(visits)) * c_scale;
    for (int a = 0; a < WIDTH; a++) {
        bool meant = visits[a] == target && logits[a] != ILLEGAL;
        score[a] = meant ? gumbel[a] + logits[a] + scale * score[a] : ILLEGAL;
    }
    return argmax(score);
}

// The action where the improved policy is furthest ahead of the visits. Equation 14.
__device__ static int gumbel_action(
    const float *logits, const float *prior, const int *visits, const float *q, float raw_value, int total,
    float c_visit, float c_scale, int rescale, float *score) {
    if (total == 0) return argmax(prior);  // all completed Q are equal, so the improved policy is the prior
    complete_q(prior, visits, q, raw_value, total, score);
    if (rescale) stretch(logits, score);
    float scale = (c_visit + most(visits)) * c_scale;
    float top = ILLEGAL, normaliser = 0;
    for (int a = 0; a < WIDTH; a++) {
        score[a] = logits[a] + scale * score[a];
        top = fmaxf(top, score[a]);
    }
    for (int a = 0; a < WIDTH; a++) {
        score[a] = expf(score[a] - top);
        normaliser += score[a];
    }
    // pi'(a) - N(a) / (1 + sum N), times both denominators.
    for (int a = 0; a < WIDTH; a++) score[a] = score[a] * (float)(total + 1) - (float)visits[a] * normaliser;
    return argmax(score);
}

// The action with the highest Q + U.
__device__ static int puct_action(
    const float *logits, const float *prior, const int *visits, const float *q, float mean, int total,
    float c_init, float c_base, int rescale, float *score) {
    float low = 0, span = 1;
    if (rescale) {
        float high = low = mean;
        for (int a = 0; a < WIDTH; a++)
            if (visits[a] > 0) low = fminf(low, q[a]), high = fmaxf(high, q[a]);
        span = fmaxf(high - low, TINY);
    }
    float count = (float)(total + 1);
    float exploration = (c_init + logf((count + c_base + 1.0f) / c_base)) * sqrtf(count);
    for (int a = 0; a < WIDTH; a++) {
        float quality = ((visits[a] > 0 ? q[a] : mean) - low) / span;
        score[a] = logits[a] != ILLEGAL ? quality + exploration * prior[a] / (float)(1 + visits[a]) : ILLEGAL;
    }
    return argmax(score);
}

// Writes node and action of the edge to evaluate, and the node's place among all states. c1, c2: the rule's constants.
__global__ void select_edges(
    const int *children, const float *logits, const float *prior, const int *visits, const float *q, const int *parent,
    const int *parent_action, const float *reward, const float *discount, const float *raw_value, const float *value,
    const bool *finished, const float *gumbel, const long long *considered, const int *schedule, long long *parents,
    long long *actions, long long *places, long long *depths, int batch, int nodes, int simulations, int rule,
    int rescale, double c1, double c2, int simulation, int max_depth) {
    int b = blockIdx.x * blockDim.x + threadIdx.x;
    if (b >= batch) return;
    float score[WIDTH];
    int node = 0, action = 0, depth = 0, total = simulation;
    while (true) {
        long long here = (long long)b * nodes + node, edges = here * WIDTH;
        const float *l = logits + edges, *p = prior + edges, *w = q + edges;
        const int *n = visits + edges;
        if (rule != GUMBEL)
            action = puct_action(l, p, n, w, value[here], total, (float)c1, (float)c2, rescale, score);
        else if (node == 0)
            action = halving_action(
                l, p, n, w, raw_value[here], total, gumbel + (long long)b * WIDTH,
                schedule[considered[b] * simulations + simulation], (float)c1, (float)c2, rescale, score);
        else
            action = gumbel_action(l, p, n, w, raw_value[here], total, (float)c1, (float)c2, rescale, score);
        depth++;
        int child = children[edges + action];
        if (child < 0 || finished[(long long)b * nodes + child] || depth == max_depth) break;
        total = n[action] - 1;
        node = child;
    }
    parents[b] = node;
    actions[b] = action;
    places[b] = (long long)node * batch + b;
    depths[b] = depth > depths[b] ? depth : depths[b];
}

// Writes the new nodes, and backs their values up to the roots. masked: whether there are illegal actions to mask.
__global__ void expand_and_backup(
    int *children, float *logits, float *prior, int *visits, float *q, int *parent, int *parent_action, float *rewards,
    float *discounts, float *raw_value, float *value, bool *finished, const long long *parents,
    const long long *actions, const float *new_logits, const float *new_value, const float *reward, const bool *done,
    const bool *turned, const bool *legal, int batch, int nodes, int masked, double discount, int simulation) {
    int b = blockIdx.x * blockDim.x + threadIdx.x;
    if (b >= batch) return;
    long long tree = (long long)b * nodes;
    int above = (int)parents[b], edge = (int)actions[b];
    int node = children[(tree + above) * WIDTH + edge];
    if (node < 0) node = children[(tree + above) * WIDTH + edge] = simulation + 1;
    long long here = tree + node;
    parent[here] = above;
    parent_action[here] = edge;
    rewards[here] = reward[b];
    finished[here] = done[b];
    float gain = 0;
    if (done[b]) {
        discounts[here] = 0;
    } else {
        // A value changes sign exactly where the player to move changes: here, and nowhere else.
        discounts[here] = turned[b] ? -(float)discount : (float)discount;
        gain = new_value[b];
        float likely[WIDTH], top = ILLEGAL, normaliser = 0;
        for (int a = 0; a < WIDTH; a++) {
            long long asked = (long long)b * WIDTH + a;
            likely[a] = masked && !legal[asked] ? ILLEGAL : new_logits[asked];
            logits[here * WIDTH + a] = likely[a];
            top = fmaxf(top, likely[a]);
        }
        for (int a = 0; a < WIDTH; a++) {
            likely[a] = expf(likely[a] - top);
            normaliser += likely[a];
        }
        for (int a = 0; a < WIDTH; a++) prior[here * WIDTH + a] = likely[a] / normaliser;
    }
    raw_value[here] = value[here] = gain;
    while (node != 0) {
        here = tree + node;
        above = parent[here];
        edge = parent_action[here];
        long long up = tree + above, taken = up * WIDTH + edge;
        gain = rewards[here] + discounts[here] * gain;
        int count = above == 0 ? simulation + 1 : visits[(tree + parent[up]) * WIDTH + parent_action[up]];
        value[up] = (value[up] * (float)count + gain) / (float)(count + 1);
        q[taken] = rewards[here] + discounts[here] * value[here];
        visits[taken] += 1;
        node = above;
    }
}
