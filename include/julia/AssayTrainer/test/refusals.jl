# A network that has every part, small enough to be looked at, and some that must not be built.

case_named(name, dtype = "float32") = only(c for c in GOLDEN["cases"] if c["name"] == name && c["dtype"] == dtype)

const SIMPLE = case_named("relu")

@testset "layers that do not fit each other are refused" begin
    start() = dense!(Blueprint("float32"), 2, 3, true, "relu")
    @test_throws DimensionMismatch dense!(start(), 4, 2, false, "relu")
    @test_throws DimensionMismatch layer_norm!(start(), 4, 1e-5, "relu")
    @test_throws DimensionMismatch batch_norm!(start(), (4,), 0.1, 1e-5, "relu")
    @test_throws DimensionMismatch dropout!(start(), (4,), 0.1)
    @test_throws DimensionMismatch conv!(start(), 1, 3, 2, 2, 1, 0, true, "relu")
    @test_throws DimensionMismatch conv!(unflatten!(start(), 3), 1, 3, 2, 4, 1, 0, true, "relu")
    @test_throws DimensionMismatch max_pool!(unflatten!(start(), 3), 1, 3, 4, 1)
    @test_throws DimensionMismatch flatten!(unflatten!(start(), 3), 3, 1)
    @test_throws ArgumentError embedding!(start(), 3, 2, (0,), (4,))
    @test_throws DimensionMismatch done!(dense!(skip!(start(), "add"), 3, 2, true, "relu"))
    @test_throws DimensionMismatch done!(unflatten!(skip!(start(), "concat"), 3))
    @test_throws ArgumentError done!(skip!(start(), "add"))
    @test_throws ArgumentError done!(start())
    @test_throws ArgumentError skip!(start(), "multiply")
end

@testset "settings that mean nothing are refused" begin
    empty = Blueprint("float32")
    @test_throws ArgumentError Blueprint("float16")
    @test_throws ArgumentError dense!(empty, 2, 3, true, "run")
    @test_throws ArgumentError dropout!(empty, (2,), 1.0)
    @test_throws ArgumentError embedding!(empty, 3, 2, (1, 0), (4, 4))
    @test_throws ArgumentError embedding!(empty, 3, 2, (3,), (4,))
    @test_throws ArgumentError embedding!(empty, 3, 2, (0,), (0,))
    @test_throws DimensionMismatch embedding!(empty, 3, 2, (0, 1), (4,))
    one = dense!(Blueprint("float32"), 2, 1, true, "identity")
    first = [0.1, 0.2, 0.3]
    trainer(; loss = "mse", options...) = Trainer(one, first, Float64[]; loss, optimizer = adam(), options...)
    @test trainer() isa Trainer{Float32}
    @test_throws ArgumentError Trainer(empty, Float64[], Float64[]; loss = "mse", optimizer = adam())
    open_skip = skip!(Blueprint("float32"), "add")
    @test_throws ArgumentError Trainer(open_skip, first, Float64[]; loss = "mse", optimizer = adam())
    @test_throws DimensionMismatch Trainer(one, first[1:2], Float64[]; loss = "mse", optimizer = adam())
    @test_throws DimensionMismatch Trainer(one, first, [1.0]; loss = "mse", optimizer = adam())
    @test_throws ArgumentError Trainer(one, [0.1, NaN, 0.3], Float64[]; loss = "mse", optimizer = adam())
    @test_throws ArgumentError trainer(loss = "hinge")
    @test_throws ArgumentError trainer(device = "tpu")
    @test_throws ArgumentError trainer(aggregation = "best")
    @test_throws ArgumentError trainer(aggregation = "median", byzantine = -1)
    @test_throws ArgumentError trainer(aggregation = "median", clipping = (1.0, 1.0, 8.0))
    @test_throws ArgumentError trainer(class_weights = (1.0, 2.0))
    @test_throws DimensionMismatch trainer(loss = "binary_logit_cross_entropy", class_weights = (1.0,))
    two = dense!(Blueprint("float32"), 1, 2, false, "identity")
    @test_throws DimensionMismatch Trainer(two, [0.1, 0.2], Float64[]; loss = "mse", optimizer = adam())
end

@testset "rows, batches and room that do not fit are refused, and nothing is changed" begin
    x, y, trainer = features(SIMPLE), labels(SIMPLE), build(SIMPLE)
    before, losses = weights(trainer), zeros(Float32, 4)
    rows, offsets, rates = [0, 1, 2, 3], [0, 2, 4], [0.1, 0.1]
    @test_throws BoundsError run!(trainer, x, y, [-1, 1, 2, 3], offsets, rates, 0, losses)
    @test_throws BoundsError run!(trainer, x, y, [0, 1, 2, length(y)], offsets, rates, 0, losses)
    @test_throws DimensionMismatch run!(trainer, x, y[1:3], rows, offsets, rates, 0, losses)
    @test_throws DimensionMismatch run!(trainer, x, y, rows, offsets, [0.1], 0, losses)
    @test_throws DimensionMismatch run!(trainer, x, y, rows, offsets, rates, 0, losses[1:3])
    @test_throws ArgumentError run!(trainer, x, y, rows, [0, 2, 3], rates, 0, losses)
    @test_throws ArgumentError run!(trainer, x, y, rows, [0, 5, 4], rates, 0, losses)
    @test_throws ArgumentError run!(trainer, x, y, rows, [0, 0, 4], rates, 0, losses)
    @test_throws ArgumentError run_private!(trainer, x, y, rows, 0.1, 0, losses, nothing)
    @test_throws BoundsError evaluate(trainer, x, y, [length(y)], losses[1:1])
    @test_throws DimensionMismatch evaluate(trainer, x, y, rows, losses[1:1])
    @test weights(trainer) == before
    @test isnan(evaluate(trainer, x, y, Int[], Float32[]).loss)
end

@testset "a robust aggregation refuses too few sources rather than taking the mean" begin
    for (name, least) in (("median", 5), ("trimmed_mean", 5), ("geometric_median", 5), ("krum", 7), ("multi_krum", 7))
        rule = AssayTrainer.Aggregation(name, 2)
        @test AssayTrainer.aggregate(rule, randn(3, least))[1] isa Vector{Float64}
        refused = try
            AssayTrainer.aggregate(rule, randn(3, least - 1))
        catch error
            error
        end
        said = AssayTrainer.unstandable(refused)
        @test (said.rule, said.byzantine) == (string(refused.rule), refused.byzantine)
        @test (refused.least, refused.found) == (least, least - 1)
        @test occursin("cannot stand 2 hostile of $(least - 1) sources", sprint(showerror, refused))
    end
    case = case_named("krum")
    trainer, x, y = build(case), features(case), labels(case)
    before = weights(trainer)
    losses = zeros(Float32, 4)
    @test_throws AssayTrainer.Unstandable run!(trainer, x, y, [0, 1, 2, 3], [0, 4], [0.1], 0, losses, SOURCES)
    @test_throws ArgumentError run!(trainer, x, y, [0, 1, 2, 3], [0, 4], [0.1], 0, zeros(Float32, 4))
    @test weights(trainer) == before
end

@testset "a private network cannot mix rows, and needs its noise" begin
    case = case_named("batch_norm")
    @test_throws ArgumentError build(case; clipping = (1.0, 1.0, 8.0))
    case = case_named("private layer_norm")
    trainer, x, y, losses = build(case), features(case), labels(case), zeros(Float32, 2)
    before = weights(trainer)
    @test_throws ArgumentError run_private!(trainer, x, y, [0, 1], 0.1, 0, losses, nothing)
    @test_throws DimensionMismatch run_private!(trainer, x, y, [0, 1], 0.1, 0, losses, [1.0])
    @test_throws ArgumentError run!(trainer, x, y, [0, 1], [0, 2], [0.1], 0, losses)
    @test weights(trainer) == before
end

@testset "a GPU that is not there is said to be missing, and nothing else is used" begin
    if isnothing(Base.find_package("CUDA"))
        @test AssayTrainer.load_gpu!() == "CUDA.jl is not in the Julia project"
        @test_throws ArgumentError build(SIMPLE; device = "gpu")
    end
    @test build(SIMPLE).device isa AssayTrainer.CPU
    @test isnothing(AssayTrainer.device_memory(build(SIMPLE)))
end
