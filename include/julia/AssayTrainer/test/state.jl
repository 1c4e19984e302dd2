@testset "goes on from a saved state bit for bit: $(case["kind"]) $(case["name"])" for case in GOLDEN["cases"]
    case["dtype"] == "float32" && case["kind"] in ("optimizer", "layer", "privacy") || continue
    AssayTrainer.set_threads!(1)
    whole, first, second = build(case), build(case), build(case)
    expected = (train!(whole, case, 0, 20), train!(whole, case, 20, 40))[2]
    train!(first, case, 0, 20)
    kept, remembered = deepcopy(weights(first)), deepcopy(AssayTrainer.slots(first))
    train!(first, case, 20, 30)
    AssayTrainer.write_weights!(second, kept...)
    AssayTrainer.write_slots!(second, remembered...)
    found = train!(second, case, 20, 40)
    @test found[2] == expected[2]
    @test weights(second) == weights(whole)
    @test AssayTrainer.slots(second) == AssayTrainer.slots(whole)
end

@testset "a state of another network or rule is refused" begin
    trainer = build(SIMPLE)
    parameters, statistics = weights(trainer)
    @test_throws DimensionMismatch AssayTrainer.write_weights!(trainer, parameters[1:end-1], statistics)
    @test_throws DimensionMismatch AssayTrainer.write_weights!(trainer, parameters, [1.0f0])
    mean, square, powers = AssayTrainer.slots(trainer)
    @test_throws DimensionMismatch AssayTrainer.write_slots!(trainer, mean, square)
    @test_throws DimensionMismatch AssayTrainer.write_slots!(trainer, mean[1:2], square, powers)
    @test_throws DimensionMismatch AssayTrainer.write_slots!(trainer, mean, square, powers[1:1])
end

@testset "statistics and weights stay as they were where an update is not made" begin
    case = case_named("batch_norm")
    trainer, x, y = build(case), features(case), labels(case)
    before = deepcopy(weights(trainer))
    losses = zeros(Float32, 8)
    tally = run!(trainer, fill!(similar(x), NaN32), y, collect(0:7), [0, 8], [0.1], 0, losses)
    @test (tally.updates, tally.skipped, tally.rows, tally.loss_sum, tally.norm_max) == (0, 1, 0, 0.0, 0.0)
    @test all(isnan, losses)
    @test weights(trainer) == before
    run!(trainer, x, y, collect(0:7), [0, 8], [0.1], 0, losses)
    @test weights(trainer)[1] != before[1]
    @test weights(trainer)[2] != before[2]
end

@testset "an empty private batch is noise alone" begin
    case = case_named("private layer_norm", "float64")
    optimizer = Dict(case["optimizer"]..., "name" => "sgd")
    trainer = build(Dict(case..., "optimizer" => optimizer))
    before, noise = weights(trainer)[1], Float64.(case["noise"][1])
    tally = run_private!(trainer, features(case), labels(case), Int[], 0.5, 0, Float32[], noise)
    (; noise_deviation, expected_rows) = trainer.clipping
    @test (tally.updates, tally.rows, tally.clipped) == (1, 0, 0)
    @test weights(trainer)[1] ≈ before .- 0.5 .* noise_deviation .* noise ./ expected_rows
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
end

@testset "layers are windows of the parameters while training, and copies in a model that is given out" begin
    trainer = build(SIMPLE)
    model = trained_model(trainer)
    trainer.parameters .= 3
    @test !any(==(3), model.layers[1].weight)
    @test all(node -> all(==(3), node.layer.dense.weight), (trainer.nodes[1], trainer.testing[1]))
end
