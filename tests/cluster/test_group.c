/* Sums inside a group of shards: the bits of adding in order, on every shard, whatever the length and the timing; and
 * waves that a shard gives up. */
#include <time.h>

#include "cluster/cluster.h"
#include "cluster/group.h"
#include "cluster/link.h"
#include "cluster/tags.h"
#include "random.h"
#include "support.h"

enum { MOST = 100003 };

static cluster world;
static float mine[MOST], want[MOST];

/* Numbers of so different sizes that the order in which they are added shows. */
static float part_of(uint32_t shard, uint32_t round, size_t i) {
    uint64_t seed = (uint64_t)shard * 1000003 + (uint64_t)round * 7919 + i * 31;
    float sizes[] = {1e-8f, 1, 1e8f};
    return ((float)random_below(&seed, 2001) - 1000) * sizes[random_below(&seed, 3)];
}

static void fill(const grid *g, uint32_t round, size_t count) {
    for (size_t i = 0; i < count; i++) {
        mine[i] = part_of(g->shard, round, i);
        want[i] = part_of(0, round, i);
        for (uint32_t s = 1; s < g->shards; s++) want[i] += part_of(s, round, i);
    }
}

static void pause_at_random(uint64_t *seed) {
    if (random_below(seed, 3) == 0) nanosleep(&(struct timespec){0, (long)random_below(seed, 300000)}, NULL);
}

/* Calls `test` with this rank's group, for each grid that these ranks can be. */
static void with_each_grid(void (*test)(const grid *place, group *g)) {
    for (uint32_t shards = 1; shards <= (uint32_t)world.size; shards++) {
        if (world.size % (int)shards != 0) continue;
        grid place = grid_of(world.rank, (uint32_t)world.size / shards, shards);
        assert_int_equal(grid_rank(&place, place.stage, place.shard), world.rank);
        group *g;
        assert_ok(group_open(&place, MOST, &g, err));
        test(&place, g);
        group_close(g);
    }
}

static void sum_every_length(const grid *place, group *g) {
    static const size_t counts[] = {1, 2, 3, 15, 16, 17, 63, 64, 65, 2880, 16384, 16385, 30000, MOST};
    uint64_t seed = 5 + (uint64_t)world.rank;
    for (uint32_t round = 0; round < 3; round++) {
        group_begin(g);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            fill(place, round, counts[c]);
            pause_at_random(&seed);
            group_sum(g, mine, counts[c]);
            assert_memory_equal(mine, want, counts[c] * sizeof *mine);
        }
        assert_false(group_is_abandoned(g));
        assert_ok(group_fault(g, err));
    }
}

static void sums_have_the_bits_of_adding_in_order(void **state) {
    (void)state;
    with_each_grid(sum_every_length);
}

/* Waves of random sums; at some of them one or more of the shards give up. */
static void give_up_now_and_then(const grid *place, group *g) {
    uint64_t common = 23 + place->stage, own = (uint64_t)world.rank;
    for (uint32_t round = 0; round < 100; round++) {
        uint32_t sums = 1 + (uint32_t)random_below(&common, 5), last = UINT32_MAX, quitters = 0;
        size_t count = 1 + random_below(&common, random_below(&common, 3) ? 500 : MOST - 1);
        if (random_below(&common, 2)) {
            last = (uint32_t)random_below(&common, sums);
            quitters = 1 + (uint32_t)random_below(&common, (1u << place->shards) - 1);
        }
        group_begin(g);
        for (uint32_t i = 0; i < sums; i++) {
            fill(place, round + i, count);
            float first = mine[0];
            pause_at_random(&own);
            if (i == last && quitters >> place->shard & 1) {
                group_abandon(g);
                break;
            }
            group_sum(g, mine, count);
            if (i >= last && place->shards > 1)
                assert_true(mine[0] == first);
            else
                assert_memory_equal(mine, want, count * sizeof *mine);
        }
        bool alone_and_kept = place->shards == 1 && !(quitters & 1);
        assert_int_equal(group_is_abandoned(g), last != UINT32_MAX && !alone_and_kept);
        assert_ok(group_fault(g, err));
    }
}

static void a_wave_that_a_shard_gives_up_ends_for_all(void **state) {
    (void)state;
    with_each_grid(give_up_now_and_then);
}

static void parts_of_a_wrong_size_are_refused(void **state) {
    (void)state;
    if (world.size != 2) return;
    for (size_t bytes = 4; bytes <= 40; bytes += 36) { /* for 20 */
        grid place = grid_of(world.rank, 1, 2);
        group *g;
        float got[16];
        MPI_Request sent, received;
        gptoss_error why = {0};
        fill(&place, 0, 5);
        assert_ok(group_open(&place, 16, &g, err));
        group_begin(g);
        if (world.rank == 0) {
            group_sum(g, mine, 5);
            assert_true(group_is_abandoned(g));
            assert_int_equal(group_fault(g, &why), GPTOSS_PEER);
            assert_non_null(strstr(why.text, "rank 0 received a malformed part of a sum"));
            group_sum(g, mine, 5); /* waits for nobody */
        } else {
            link_receive(got, sizeof got, 0, TAG_SUM, &received);
            link_send(mine, bytes, 0, TAG_SUM, &sent);
            assert_int_equal(link_wait(&received), 5 * sizeof *mine);
            link_wait(&sent);
        }
        group_close(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_have_the_bits_of_adding_in_order),
        cmocka_unit_test(a_wave_that_a_shard_gives_up_ends_for_all),
        cmocka_unit_test(parts_of_a_wrong_size_are_refused),
    };
    gptoss_error err;
    if (cluster_open(true, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
