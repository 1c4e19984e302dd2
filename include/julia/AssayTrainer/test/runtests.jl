using AssayTrainer
using AssayTrainer: batch_norm!, conv!, dense!, done!, dropout!, embedding!, flatten!, layer_norm!, max_pool!
using AssayTrainer: skip!, unflatten!
using Flux: Flux, Chain
using Serialization: serialize
using TOML: parsefile
using Test: @test, @test_throws, @testset

include("golden.jl")

@testset "AssayTrainer" begin
    include("steps.jl")
    include("refusals.jl")
    include("state.jl")
    include("models.jl")
end
