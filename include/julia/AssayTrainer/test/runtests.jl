using AssayTrainer
using Flux: Chain, Dense
using Serialization: deserialize
using TOML: parsefile
using Test: @test, @test_throws, @testset

# Written by the NumPy reference backend (tests/train/golden.py): what the same network, fed the same batches, came to.
const GOLDEN = parsefile(joinpath(@__DIR__, "golden.toml"))

matrix(T, rows) = T[rows[i][j] for i in eachindex(rows), j in eachindex(rows[1])]

function build(case, T)
    blueprint = Blueprint(case["dtype"])
    for layer in case["layers"]
        bias = haskey(layer, "bias") ? T.(layer["bias"]) : nothing
        dense!(blueprint, matrix(T, layer["weight"]), bias, layer["activation"])
    end
    return Trainer(blueprint, case["loss"]; learning_rate = case["learning_rate"])
end

# Float64 agrees but for rounding; in Float32 the rounding of fifty steps of Adam adds up.
agrees(::Type{Float64}, a, b) = isapprox(a, b; rtol = 1e-8, atol = 1e-10)
agrees(::Type{Float32}, a, b) = isapprox(a, b; rtol = 1e-4, atol = 1e-5)

@testset "AssayTrainer" begin
    @testset "takes the reference's steps: $(case["name"])" for case in GOLDEN["cases"]
        T = case["dtype"] == "float32" ? Float32 : Float64
        x = Float32.(permutedims(matrix(Float64, GOLDEN["x"])))
        y = case["loss"] == "mse" ? Float64.(GOLDEN["numbers"]) : Int.(GOLDEN["classes"])
        trainer = build(case, T)
        for (order, expected) in zip(GOLDEN["orders"], case["epochs"])
            stats = epoch!(trainer, x, y, order .+ 1, GOLDEN["batch_size"])
            @test agrees(T, stats.loss, expected["loss"])
            @test agrees(T, stats.gradient_norm, expected["gradient_norm"])
            @test (stats.updates, stats.skipped) == (expected["updates"], 0)
        end
        seen = evaluate(trainer, x, y, 1:length(y))
        @test agrees(T, seen.loss, case["final_loss"])
        @test agrees(Float32, seen.metric, case["final_metric"])
        for (number, layer) in enumerate(case["final_layers"])
            @test agrees(T, layer_weight(trainer, number), matrix(T, layer["weight"]))
            if haskey(layer, "bias")
                @test agrees(T, layer_bias(trainer, number), T.(layer["bias"]))
            else
                @test isnothing(layer_bias(trainer, number))
            end
        end
    end

    case = first(GOLDEN["cases"])
    x = Float32.(permutedims(matrix(Float64, GOLDEN["x"])))
    y = Int.(GOLDEN["classes"])

    @testset "the same calls give the same weights, bit for bit" begin
        AssayTrainer.set_threads!(1)
        results = map(1:2) do _
            trainer = build(case, Float32)
            epoch!(trainer, x, y, collect(1:length(y)), 8)
            layer_weight(trainer, 1)
        end
        @test results[1] == results[2]
    end

    @testset "a batch that is not finite changes nothing and is counted" begin
        trainer = build(case, Float32)
        before = layer_weight(trainer, 1)
        stats = epoch!(trainer, fill!(similar(x), NaN32), y, collect(1:16), 8)
        @test (stats.updates, stats.skipped) == (0, 2)
        @test isnan(stats.loss)
        @test layer_weight(trainer, 1) == before
    end

    @testset "what does not fit together is refused" begin
        blueprint = Blueprint("float32")
        dense!(blueprint, ones(Float32, 3, 2), zeros(Float32, 3), "relu")
        @test_throws DimensionMismatch dense!(blueprint, ones(Float32, 2, 4), nothing, "relu")
        @test_throws DimensionMismatch dense!(blueprint, ones(Float32, 2, 3), zeros(Float32, 3), "relu")
        @test_throws ArgumentError dense!(blueprint, ones(Float32, 2, 3), nothing, "run")
        @test_throws ArgumentError dense!(blueprint, fill(NaN32, 2, 3), nothing, "relu")
        @test_throws ArgumentError Blueprint("float16")
        @test_throws ArgumentError Trainer(Blueprint("float32"), "mse")
        @test_throws ArgumentError Trainer(blueprint, "hinge")
        @test_throws ArgumentError Trainer(blueprint, "mse"; device = "tpu")
        trainer = build(case, Float32)
        @test_throws BoundsError epoch!(trainer, x, y, [0, 1], 8)
        @test_throws BoundsError evaluate(trainer, x, y, [length(y) + 1])
        @test_throws DimensionMismatch evaluate(trainer, x, y[1:3], [1])
        @test_throws ArgumentError evaluate(trainer, x, y, Int[])
    end

    @testset "memory of another owner is read and written in place" begin
        numbers = Float32[1 2 3; 4 5 6]
        GC.@preserve numbers begin
            lent = AssayTrainer.borrow(UInt(pointer(numbers)), "float32", 2, 3)
            @test lent isa Matrix{Float32}
            @test lent == numbers
            lent[1, 2] = 7
        end
        @test numbers[1, 2] == 7
        @test_throws ArgumentError AssayTrainer.borrow(0, "object", 1)
        trainer = build(case, Float32)
        weight, bias = similar(layer_weight(trainer, 1)), similar(layer_bias(trainer, 1))
        AssayTrainer.read_layer!(trainer, 1, weight, bias)
        @test (weight, bias) == (layer_weight(trainer, 1), layer_bias(trainer, 1))
    end

    @testset "a GPU that is not there is said to be missing" begin
        if isnothing(Base.find_package("CUDA"))
            @test occursin("CUDA.jl", AssayTrainer.load_gpu!())
            blueprint = dense!(Blueprint("float32"), ones(Float32, 1, 2), nothing, "identity")
            @test_throws ArgumentError Trainer(blueprint, "mse"; device = "gpu")
        end
    end

    @testset "the saved model is a plain chain that answers alike" begin
        trainer = build(case, Float32)
        epoch!(trainer, x, y, collect(1:length(y)), 8)
        mktempdir() do folder
            path = joinpath(folder, "model.jls")
            save_model(trainer, path)
            model = deserialize(path)
            @test model isa Chain
            @test all(layer -> layer isa Dense && layer.weight isa Matrix{Float32}, model.layers)
            @test model(x) == trainer.model(x)
        end
    end

    @testset "it knows the versions of what it runs on" begin
        @test AssayTrainer.versions()["julia"] == string(VERSION)
        @test startswith(AssayTrainer.versions()["flux"], "0.16")
    end
end
