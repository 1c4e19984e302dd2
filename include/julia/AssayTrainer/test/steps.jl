@testset "takes the reference's steps: $(case["kind"]) $(case["name"]), $(case["dtype"])" for case in GOLDEN["cases"]
    T, trainer = element(case), build(case)
    for expected in case["calls"]
        tally, losses = train!(trainer, case, expected["from"], expected["to"])
        for name in ("loss_sum", "norm_sum", "norm_max")
            @test agrees(T, getproperty(tally, Symbol(name)), expected[name])
        end
        for name in ("rows", "updates", "skipped", "clipped")
            @test getproperty(tally, Symbol(name)) == expected[name]
        end
        @test tally.dropped == expected["dropped"]
        @test agrees(Float32, losses, Float32.(expected["row_losses"]))
    end
    x, y = features(case), labels(case)
    rows = [row for row in 0:length(y)-1 if !(row in get(case, "nan_rows", Int[]))]
    losses = zeros(Float32, length(rows))
    seen = evaluate(trainer, x, y, rows, losses)
    @test agrees(T, seen.loss, case["evaluation"]["loss"])
    @test agrees(T, seen.metric, case["evaluation"]["metric"])
    @test agrees(Float32, losses, Float32.(case["evaluation"]["row_losses"]))
    groups = [[row for row in rows if SOURCES[row+1] == source] for source in unique(sort(SOURCES))]
    gram = zeros(length(groups), length(groups))
    gradient_gram!(gram, trainer, x, y, reduce(vcat, groups), cumsum([0; length.(groups)]))
    @test agrees(T, gram, rows_of(case["gram"]))
    parameters, statistics = parted(case, case["final"])
    @test agrees(T, weights(trainer)[1], parameters)
    @test agrees(T, weights(trainer)[2], statistics)
end

@testset "drops what the reference drops: seed $(case["seed"]), layer $(case["layer"])" for case in GOLDEN["masks"]
    key = AssayTrainer.mask_key(case["seed"] % UInt64, case["step"], case["layer"])
    drawn = [(AssayTrainer.mix(key + UInt64(i)) >> 11) * 2.0^-53 for i in 0:case["rows"]*case["size"]-1]
    @test reshape(drawn, case["size"], case["rows"]) == permutedims(rows_of(case["uniforms"]))
    for T in (Float32, Float64), dims in ((case["size"], case["rows"]), (1, case["size"], case["rows"]))
        made = AssayTrainer.mask(zeros(T, dims), key, Float64(case["rate"]))
        @test made isa Array{T}
        kept = permutedims(rows_of(case["keep"])) .* T(1 / (1 - case["rate"]))
        @test reshape(made, case["size"], case["rows"]) == kept
    end
end

@testset "aggregates as the reference: $(case["name"]), $(case["byzantine"])" for case in GOLDEN["aggregations"]
    gradients = permutedims(rows_of(case["gradients"]))
    gradient, dropped = AssayTrainer.aggregate(AssayTrainer.Aggregation(case["name"], case["byzantine"]), gradients)
    @test gradient ≈ case["gradient"] rtol = 1e-9
    @test dropped .- 1 == case["dropped"]
end

@testset "one way back measures what a gradient per row would: $(case["name"])" for case in
                                                                                GOLDEN["cases"]
    case["kind"] == "privacy" && case["dtype"] == "float64" || continue
    trainer = build(case)
    x, y, rows = features(case), labels(case), collect(0:9)
    room = AssayTrainer.Room{Float64}(size(x, 1), trainer.outputs)
    inputs, target, seeds = AssayTrainer.load!(room, trainer, x, y, rows)
    output, stops = AssayTrainer.forward(trainer.nodes, inputs, AssayTrainer.Pass(UInt64(5), 0))
    _, back = AssayTrainer.losses_and_back(trainer.goal, output, target)
    squares = zeros(length(rows))
    AssayTrainer.backward!(trainer.gradient, stops, back(seeds), squares)
    for row in eachindex(rows)
        AssayTrainer.backward!(trainer.gradient, stops, back(seeds .* (eachindex(rows) .== row)))
        @test squares[row] ≈ AssayTrainer.sum_of_squares(trainer.gradient) rtol = 1e-10
    end
end
