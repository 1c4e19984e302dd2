"""Where a described layer differs from the case's: names of the settings."""
function differing(found, expected)
    renamed = Dict("shape" => "channels")
    apart = String[]
    for (key, value) in expected
        key = get(renamed, key, key)
        haskey(found, key) || continue
        wanted = key == "channels" && value isa Vector ? value[1] : value
        if key == "layers"
            append!(apart, reduce(vcat, differing.(found[key], wanted)))
        elseif found[key] != (key in ("momentum", "epsilon") ? rounded(found, wanted) : wanted)
            push!(apart, key)
        end
    end
    return apart
end

"""A setting as the layer's dtype holds it."""
rounded(found, value) = found["dtype"] == "float32" ? Float64(Float32(value)) : value

@testset "a saved model is described as it was built: $(case["name"])" for case in GOLDEN["cases"]
    case["kind"] == "layer" || continue
    trainer = build(case)
    train!(trainer, case, 0, 5)
    mktempdir() do folder
        path = joinpath(folder, "model.jls")
        save_model(trainer, path)
        model = AssayTrainer.open_model(path)
        described = AssayTrainer.describe_model(model)
        @test [layer["type"] for layer in described] == [layer["type"] for layer in case["layers"]]
        @test all(isempty, differing.(described, case["layers"]))
        arrays = AssayTrainer.model_arrays(model)
        @test [(name, shape) for (name, shape, _) in arrays] == [(a["name"], a["shape"]) for a in case["arrays"]]
        @test all(((_, _, numbers),) -> numbers isa Vector{element(case)}, arrays)
        flat = reduce(vcat, (numbers for (_, _, numbers) in arrays))
        @test (weights(trainer)[1], weights(trainer)[2]) == parted(case, flat)
        x = features(case)
        output = zeros(element(case), trainer.outputs, size(x, 2))
        AssayTrainer.apply_model!(output, model, x)
        @test output ≈ AssayTrainer.apply(trainer.testing, element(case).(x)) rtol = 1e-5
        @test_throws DimensionMismatch AssayTrainer.apply_model!(output[:, 1:2], model, x)
    end
end

@testset "what is not one of the blueprint's layers is named for what it is" begin
    weight, bias = ones(Float32, 2, 2), zeros(Float32, 2)
    kinds(layers...) = [layer["type"] for layer in AssayTrainer.describe_model(Chain(layers...))]
    only_one(layer) = only(AssayTrainer.describe_model(Chain(layer)))
    @test only_one(Flux.Dense(weight, bias, abs2))["activation"] == "unlisted: abs2"
    @test only_one(Flux.Dense(weight, Float64.(bias), Flux.relu))["dtype"] == "float32"
    @test only_one(Flux.Dense(Float64.(weight), false, Flux.relu))["dtype"] == "float64"
    @test all(startswith("unlisted"), kinds(x -> x, Flux.GroupNorm(4, 2), Flux.Dropout(0.5), Flux.BatchNorm(2)))
    @test all(startswith("unlisted"), kinds(Flux.LayerNorm(2; affine = false), Flux.Conv((3, 3), 1 => 2)))
    @test all(startswith("unlisted"), kinds(Flux.Conv((3,), 1 => 2; dilation = 2), Flux.MaxPool((2, 2))))
    joined = only_one(Flux.SkipConnection(Flux.Dense(weight), (a, b) -> a .* b))
    @test startswith(joined["connection"], "unlisted")
    mktempdir() do folder
        path = joinpath(folder, "model.jls")
        open(io -> serialize(io, Dict("weight" => weight)), path, "w")
        @test_throws ArgumentError AssayTrainer.open_model(path)
    end
end

@testset "it knows the versions of what it runs on" begin
    @test AssayTrainer.versions()["julia"] == string(VERSION)
    @test startswith(AssayTrainer.versions()["flux"], "0.16")
end
